import type * as monaco from "monaco-editor/esm/vs/editor/editor.api.js";
import { themeValue, type Theme } from "@/lib/themes/themes";

/** Monaco wants six digits, and the style sheet may have been shortened to three. */
const colourOf = (variable: string): string => themeValue(variable).replace(/^#(\w)(\w)(\w)$/, "#$1$1$2$2$3$3");
const hex = (variable: string): string => colourOf(variable).slice(1);

/** Monaco paints by itself, so it gets the values of the present theme file as a theme of the same name. */
export function defineThemes({ editor }: typeof monaco, name: Theme): void {
  const dark = themeValue("color-scheme") === "dark";
  const colour = (variable: string, alpha = "") => `${colourOf(variable)}${alpha}`;
  const rule = (token: string, variable: string, fontStyle = "") => ({ token, foreground: hex(variable), fontStyle });
  editor.defineTheme(name, {
    base: dark ? "vs-dark" : "vs",
    inherit: true,
    rules: [
      rule("", "--cds-text"),
      rule("comment", "--cds-syn-comment", "italic"),
      rule("keyword", "--cds-syn-keyword"),
      rule("tag", "--cds-syn-keyword"),
      rule("string", "--cds-syn-string"),
      rule("attribute.value", "--cds-syn-string"),
      rule("number", "--cds-syn-number"),
      rule("constant", "--cds-syn-number"),
      rule("type", "--cds-syn-type"),
      rule("attribute.name", "--cds-syn-type"),
      rule("predefined", "--cds-syn-function"),
      rule("function", "--cds-syn-function"),
      rule("annotation", "--cds-syn-function"),
      rule("operator", "--cds-syn-operator"),
      rule("delimiter", "--cds-syn-operator"),
      rule("invalid", "--cds-danger"),
    ],
    colors: {
      "editor.background": colour("--cds-panel"),
      "editor.foreground": colour("--cds-text"),
      "editorLineNumber.foreground": colour("--cds-muted"),
      "editorLineNumber.dimmedForeground": colour("--cds-muted"),
      "editorLineNumber.activeForeground": colour("--cds-accent"),
      "editorCursor.foreground": colour("--cds-accent-2"),
      "editor.selectionBackground": colour("--cds-button", dark ? "66" : "40"),
      "editor.inactiveSelectionBackground": colour("--cds-button", "2e"),
      "editor.wordHighlightBackground": colour("--cds-accent", "26"),
      "editor.wordHighlightStrongBackground": colour("--cds-accent", "33"),
      "editor.findMatchBackground": colour("--cds-warn", "66"),
      "editor.findMatchHighlightBackground": colour("--cds-warn", "33"),
      "editor.lineHighlightBackground": colour("--cds-raised", dark ? "99" : "73"),
      "editor.lineHighlightBorder": "#00000000",
      "editorIndentGuide.background1": colour("--cds-line"),
      "editorIndentGuide.activeBackground1": colour("--cds-border"),
      "editorBracketMatch.background": colour("--cds-accent", "2e"),
      "editorBracketMatch.border": colour("--cds-accent"),
      "editorWidget.background": colour("--cds-raised"),
      "editorWidget.foreground": colour("--cds-text"),
      "editorWidget.border": colour("--cds-border"),
      "editorSuggestWidget.selectedBackground": colour("--cds-button", "4d"),
      "editorStickyScroll.background": colour("--cds-panel"),
      "editorStickyScrollHover.background": colour("--cds-raised"),
      "editorGutter.background": colour("--cds-panel"),
      "input.background": colour("--cds-bg"),
      "input.foreground": colour("--cds-text"),
      "input.border": colour("--cds-border"),
      focusBorder: colour("--cds-focus"),
      "menu.background": colour("--cds-raised"),
      "menu.foreground": colour("--cds-text"),
      "menu.selectionBackground": colour("--cds-button"),
      "menu.selectionForeground": colour("--cds-on-button"),
      "menu.border": colour("--cds-border"),
      "quickInput.background": colour("--cds-raised"),
      "quickInput.foreground": colour("--cds-text"),
      "list.hoverBackground": colour("--cds-border", "33"),
      "scrollbarSlider.background": colour("--cds-border", "55"),
      "scrollbarSlider.hoverBackground": colour("--cds-border", "88"),
      "scrollbarSlider.activeBackground": colour("--cds-border", "aa"),
    },
  });
  editor.setTheme(name);
}
