import type { ITheme } from "@xterm/xterm";
import { themeValue } from "@/lib/themes/themes";

/** The sixteen colours of a terminal from the variables of the present theme; xterm itself lifts what would be too faint to read. */
export function colours(): ITheme {
  const dark = themeValue("color-scheme") === "dark";
  const value = (name: string) => themeValue(`--cds-${name}`);
  const [ink, paper] = dark ? [value("line"), value("text")] : [value("text"), value("muted")];
  return {
    background: value("panel"),
    foreground: value("text"),
    cursor: value("accent-2"),
    cursorAccent: value("panel"),
    selectionBackground: `${sixDigits(value("button"))}66`,
    black: ink,
    brightBlack: value("muted"),
    white: paper,
    brightWhite: value("text"),
    red: value("danger"),
    brightRed: value("danger"),
    green: value("ok"),
    brightGreen: value("ok"),
    yellow: value("warn"),
    brightYellow: value("warn"),
    blue: value("syn-type"),
    brightBlue: value("syn-type"),
    magenta: value("syn-function"),
    brightMagenta: value("syn-function"),
    cyan: value("syn-string"),
    brightCyan: value("syn-string"),
  };
}

/** The style sheet may have been shortened to three digits, to which no transparency can be added. */
const sixDigits = (colour: string): string => colour.replace(/^#(\w)(\w)(\w)$/, "#$1$1$2$2$3$3");
