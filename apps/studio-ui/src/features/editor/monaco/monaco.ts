/** Monaco, and nothing else of the page imports it. This module is a chunk of its own, loaded with the first open file. */
import "monaco-editor/esm/vs/editor/browser/coreCommands.js";
import "monaco-editor/esm/vs/editor/browser/widget/codeEditor/codeEditorWidget.js";
import "monaco-editor/esm/vs/editor/contrib/anchorSelect/browser/anchorSelect.js";
import "monaco-editor/esm/vs/editor/contrib/bracketMatching/browser/bracketMatching.js";
import "monaco-editor/esm/vs/editor/contrib/caretOperations/browser/caretOperations.js";
import "monaco-editor/esm/vs/editor/contrib/caretOperations/browser/transpose.js";
import "monaco-editor/esm/vs/editor/contrib/clipboard/browser/clipboard.js";
import "monaco-editor/esm/vs/editor/contrib/comment/browser/comment.js";
import "monaco-editor/esm/vs/editor/contrib/contextmenu/browser/contextmenu.js";
import "monaco-editor/esm/vs/editor/contrib/cursorUndo/browser/cursorUndo.js";
import "monaco-editor/esm/vs/editor/contrib/dnd/browser/dnd.js";
import "monaco-editor/esm/vs/editor/contrib/find/browser/findController.js";
import "monaco-editor/esm/vs/editor/contrib/folding/browser/folding.js";
import "monaco-editor/esm/vs/editor/contrib/fontZoom/browser/fontZoom.js";
import "monaco-editor/esm/vs/editor/contrib/hover/browser/hoverContribution.js";
import "monaco-editor/esm/vs/editor/contrib/indentation/browser/indentation.js";
import "monaco-editor/esm/vs/editor/contrib/lineSelection/browser/lineSelection.js";
import "monaco-editor/esm/vs/editor/contrib/linesOperations/browser/linesOperations.js";
import "monaco-editor/esm/vs/editor/contrib/longLinesHelper/browser/longLinesHelper.js";
import "monaco-editor/esm/vs/editor/contrib/multicursor/browser/multicursor.js";
import "monaco-editor/esm/vs/editor/contrib/readOnlyMessage/browser/contribution.js";
import "monaco-editor/esm/vs/editor/contrib/smartSelect/browser/smartSelect.js";
import "monaco-editor/esm/vs/editor/contrib/snippet/browser/snippetController2.js";
import "monaco-editor/esm/vs/editor/contrib/stickyScroll/browser/stickyScrollContribution.js";
import "monaco-editor/esm/vs/editor/contrib/suggest/browser/suggestController.js";
import "monaco-editor/esm/vs/editor/contrib/toggleTabFocusMode/browser/toggleTabFocusMode.js";
import "monaco-editor/esm/vs/editor/contrib/tokenization/browser/tokenization.js";
import "monaco-editor/esm/vs/editor/contrib/unicodeHighlighter/browser/unicodeHighlighter.js";
import "monaco-editor/esm/vs/editor/contrib/wordHighlighter/browser/wordHighlighter.js";
import "monaco-editor/esm/vs/editor/contrib/wordOperations/browser/wordOperations.js";
import "monaco-editor/esm/vs/editor/contrib/wordPartOperations/browser/wordPartOperations.js";
import "monaco-editor/esm/vs/editor/standalone/browser/quickAccess/standaloneGotoLineQuickAccess.js";
import "monaco-editor/esm/vs/base/browser/ui/codicons/codicon/codicon.css";
import "monaco-editor/esm/vs/base/browser/ui/codicons/codicon/codicon-modifiers.css";
import * as monaco from "monaco-editor/esm/vs/editor/editor.api.js";
import EditorWorker from "monaco-editor/esm/vs/editor/editor.worker.js?worker";
import { theme } from "@/lib/themes/themes";
import type { Buffer } from "../model/documents";
import { languageOf, registerLanguages } from "./languages";
import { defineThemes } from "./theme";

// A worker file of this origin: the CSP allows neither blob: nor another host.
self.MonacoEnvironment = { getWorker: () => new EditorWorker() };
registerLanguages(monaco);
defineThemes(monaco, theme.get());
theme.subscribe(() => defineThemes(monaco, theme.get()));

/** A Monaco model behind the plain interface that the documents know. */
export interface MonacoBuffer extends Buffer {
  model: monaco.editor.ITextModel;
  view: monaco.editor.ICodeEditorViewState | null;
}

let count = 0;

export function makeBuffer(path: string, text: string, onChange: () => void): MonacoBuffer {
  // The number keeps the addresses of two projects, or of a file that is opened again, apart.
  const model = monaco.editor.createModel(text, languageOf(path), monaco.Uri.from({ scheme: "project", authority: String(++count), path: `/${path}` }));
  // One colour for all brackets: the themes have their own say.
  model.updateOptions({ bracketColorizationOptions: { enabled: false, independentColorPoolPerBracketType: false } });
  let savedMark = model.getAlternativeVersionId();
  const listener = model.onDidChangeContent(onChange);
  return {
    model,
    view: null,
    snapshot: () => ({ text: model.getValue(undefined, true), mark: model.getAlternativeVersionId() }),
    saved: (mark) => (savedMark = mark),
    isChanged: () => model.getAlternativeVersionId() !== savedMark,
    replace: (next) => {
      model.pushEditOperations([], [{ range: model.getFullModelRange(), text: next }], () => null);
    },
    dispose: () => {
      listener.dispose();
      model.dispose();
    },
  };
}

export interface EditorHandle {
  show(buffer: MonacoBuffer | null, label: string, readOnly: boolean): void;
  focus(): void;
  dispose(): void;
}

export interface EditorKeys {
  save(): void;
  run(): void;
  onCursor(line: number, column: number): void;
}

export function mountEditor(box: HTMLElement, keys: EditorKeys): EditorHandle {
  const quiet = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  const editor = monaco.editor.create(box, {
    model: null,
    automaticLayout: true,
    fontFamily: "'JetBrains Mono Variable', ui-monospace, monospace",
    fontSize: 14,
    lineHeight: 22,
    fontLigatures: false,
    minimap: { enabled: false },
    scrollBeyondLastLine: false,
    smoothScrolling: !quiet,
    cursorBlinking: quiet ? "solid" : "smooth",
    cursorSmoothCaretAnimation: quiet ? "off" : "on",
    padding: { top: 12, bottom: 12 },
    renderLineHighlight: "all",
    guides: { indentation: true },
    stickyScroll: { enabled: true },
    fixedOverflowWidgets: true,
    dragAndDrop: true,
    wordBasedSuggestions: "currentDocument",
    accessibilitySupport: "auto",
    tabSize: 4,
  });
  editor.addCommand(monaco.KeyMod.CtrlCmd | monaco.KeyCode.KeyS, keys.save);
  editor.addCommand(monaco.KeyMod.CtrlCmd | monaco.KeyCode.Enter, keys.run);
  editor.onDidChangeCursorPosition(({ position }) => keys.onCursor(position.lineNumber, position.column));
  void document.fonts.ready.then(() => monaco.editor.remeasureFonts());
  let shown: MonacoBuffer | null = null;
  return {
    show(buffer, label, readOnly) {
      if (shown && shown !== buffer && !shown.model.isDisposed()) shown.view = editor.saveViewState();
      if (shown !== buffer) {
        editor.setModel(buffer?.model ?? null);
        if (buffer?.view) editor.restoreViewState(buffer.view);
        const at = editor.getPosition();
        if (at) keys.onCursor(at.lineNumber, at.column);
      }
      shown = buffer;
      editor.updateOptions({ ariaLabel: label, readOnly });
    },
    focus: () => editor.focus(),
    dispose: () => editor.dispose(),
  };
}
