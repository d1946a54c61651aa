import { FitAddon } from "@xterm/addon-fit";
import { Terminal } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";
import { fill, translate } from "@/lib/i18n/i18n";
import { theme } from "@/lib/themes/themes";
import { readAloud } from "../model";
import type { Screen } from "../model/session";
import { colours } from "./colours";
import { isOurKey, leaveKey } from "./keys";

const scrollback = 5_000;
/** Operating system commands that reach beyond the screen: titles and icon names, the working folder, the clipboard, and notifications. */
const swallowed = [0, 1, 2, 7, 9, 50, 52, 99, 777, 1337];

/** A terminal painted by xterm.js. It has an element of its own, which moves into whatever place shows it. */
export class XtermScreen implements Screen {
  readonly element = document.createElement("div");
  /** The user asked to leave the terminal by key. */
  onLeave: () => void = () => undefined;
  private readonly terminal: Terminal;
  private readonly fitter = new FitAddon();
  private readonly unsubscribe: (() => void)[];
  private opened = false;

  constructor() {
    this.element.className = "h-full w-full";
    this.terminal = new Terminal({
      allowProposedApi: false,
      cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches,
      fontFamily: '"JetBrains Mono Variable", ui-monospace, monospace',
      fontSize: 14,
      minimumContrastRatio: 4.5,
      screenReaderMode: readAloud.get(),
      scrollback,
      theme: colours(),
      // A link is never opened by itself, and only to the web.
      linkHandler: { allowNonHttpProtocols: false, activate: (_event, address) => openLink(address) },
    });
    this.terminal.loadAddon(this.fitter);
    this.filter();
    this.terminal.attachCustomKeyEventHandler((event) => this.onKey(event));
    this.unsubscribe = [
      theme.subscribe(() => (this.terminal.options.theme = colours())),
      readAloud.subscribe(() => (this.terminal.options.screenReaderMode = readAloud.get())),
    ];
  }

  /** Moves the screen into its place; it can only be painted where it can be measured. */
  show(place: HTMLElement): void {
    place.replaceChildren(this.element);
    if (this.opened) return;
    this.opened = true;
    this.terminal.open(this.element);
    this.terminal.textarea?.setAttribute("aria-label", translate("term.screen"));
  }

  write(bytes: Uint8Array, done: () => void): void {
    this.terminal.write(bytes, done);
  }

  skipped(count: number): void {
    // CAN ends a sequence whose rest is missing, ST a text that never ended.
    this.terminal.write(`\u0018\u001b\\\u001b[0m\r\n${fill(translate("term.skipped"), { count })}\r\n`);
  }

  resize(rows: number, cols: number): void {
    this.terminal.resize(cols, rows);
  }

  fitting(): { rows: number; cols: number } | null {
    if (!this.element.isConnected || this.element.clientWidth === 0) return null;
    const size = this.fitter.proposeDimensions();
    return size && Number.isFinite(size.rows) && Number.isFinite(size.cols) ? size : null;
  }

  onData(listener: (data: string) => void): void {
    this.terminal.onData(listener);
  }

  focus(): void {
    this.terminal.focus();
  }

  dispose(): void {
    for (const stop of this.unsubscribe) stop();
    this.terminal.dispose();
    this.element.remove();
  }

  /** What a program writes stays on the screen: it neither renames the page nor touches the clipboard, nor is it told what it set before. */
  private filter(): void {
    for (const command of swallowed) this.terminal.parser.registerOscHandler(command, () => true);
    // DECRQSS and the reports of XTWINOPS would put text that a program chose into its own input.
    this.terminal.parser.registerDcsHandler({ intermediates: "$", final: "q" }, () => true);
    this.terminal.parser.registerCsiHandler({ final: "t" }, () => true);
  }

  private onKey(event: KeyboardEvent): boolean {
    if (event.type === "keydown" && event.key === leaveKey) {
      event.preventDefault();
      this.onLeave();
      return false;
    }
    if (event.ctrlKey && event.shiftKey && event.code === "KeyC") {
      event.preventDefault();
      if (event.type === "keydown" && this.terminal.hasSelection()) void navigator.clipboard?.writeText(this.terminal.getSelection()).catch(() => undefined);
      return false;
    }
    return !isOurKey(event);
  }
}

function openLink(address: string): void {
  if (confirm(fill(translate("term.link"), { address }))) window.open(address, "_blank", "noopener,noreferrer");
}
