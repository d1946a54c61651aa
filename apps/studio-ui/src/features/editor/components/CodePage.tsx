import { useEffect, useRef, useState, type CSSProperties, type KeyboardEvent, type ReactNode } from "react";
import { Button, IconButton } from "@/components/ui/Button";
import { Problem } from "@/components/ui/Problem";
import { Splitter, usePaneSize } from "@/components/ui/Splitter";
import { useText } from "@/lib/i18n/i18n";
import { useStore } from "@/lib/store";
import { mayDevelop } from "@/lib/workspace";
import type { Documents } from "../model/documents";
import { nameOf, runLanguageOf, type RunLanguage } from "../model/paths";
import { watchProject } from "../model/watch";
import { hasUnsaved, workbenchOf } from "../model/workbench";
import { CloseDialog, ConflictDialog } from "./EditorDialogs";
import { EditorPane } from "./EditorPane";
import { FileTree } from "./FileTree";

interface Props {
  project: string;
  /** Starts a saved file. The editor knows nothing of runs. */
  onRun(path: string, language: RunLanguage): void;
  running: boolean;
  /** Output of the latest run, shown below the editor. */
  panel: ReactNode;
  /** Hands save and run to the command palette. */
  bind(actions: { save(): void; run(): void }): void;
}

export function CodePage({ project, onRun, running, panel, bind }: Props) {
  const { t } = useText();
  const workbench = workbenchOf(project);
  const { documents } = workbench;
  const { active, conflict, failure, files } = useStore(documents.state);
  const [closing, setClosing] = useState<string | null>(null);
  const treeSize = usePaneSize("files", 240, 160, 520);
  const panelSize = usePaneSize("output", 230, 90, 620);

  const save = () => {
    if (active) void documents.save(active);
  };
  const run = async () => {
    const file = documents.find(active);
    const language = file && runLanguageOf(file.path);
    if (!file || !language || running || !mayDevelop()) return;
    if (file.unsaved && !(await documents.save(file.path))) return;
    onRun(file.path, language);
  };
  useEffect(() => {
    bind({ save, run: () => void run() });
  });

  useEffect(() => {
    const guard = (event: BeforeUnloadEvent) => {
      if (hasUnsaved()) event.preventDefault();
    };
    window.addEventListener("beforeunload", guard);
    return () => window.removeEventListener("beforeunload", guard);
  }, []);

  // Runs, terminals and other people change files, too.
  useEffect(() => watchProject(workbench), [workbench]);

  const close = (path: string) => (documents.find(path)?.unsaved ? setClosing(path) : documents.close(path));
  const file = files.find((one) => one.path === active);
  return (
    <div className="flex h-full min-h-0 flex-col sm:flex-row">
      <h1 className="sr-only">{t("app.tab.code")}</h1>
      <div className="h-48 shrink-0 sm:h-auto sm:w-(--tree)" style={{ "--tree": `${treeSize.px}px` } as CSSProperties}>
        <FileTree workbench={workbench} />
      </div>
      <Splitter name={t("files.resize")} size={treeSize} axis="x" />
      <div className="flex min-h-0 min-w-0 grow flex-col">
        <div className="flex min-h-10 items-stretch border-b border-line bg-bg/60">
          <Tabs documents={documents} onClose={close} />
          <div className="flex items-center gap-2 px-2">
            <Button small look="quiet" icon="save" onClick={save} disabled={!file?.unsaved || file.saving || !mayDevelop()} title="Ctrl+S">
              {t(file?.saving ? "editor.saving" : "editor.save")}
            </Button>
            <Button
              small
              look="primary"
              icon="play"
              disabled={!file || !runLanguageOf(file.path) || running || !mayDevelop()}
              onClick={() => void run()}
              title={file && !runLanguageOf(file.path) ? t("editor.run.none") : "Ctrl+Enter"}
            >
              {t("editor.run")}
            </Button>
          </div>
        </div>
        {failure && (
          <div className="relative border-b border-line p-2 pr-10">
            <Problem failure={failure.failure} onRetry={failure.retry} compact />
            <IconButton name={t("common.close")} icon="close" className="absolute top-2 right-2" onClick={() => documents.dismissFailure()} />
          </div>
        )}
        <div id="editor-panel" className="min-h-0 grow bg-panel">
          <EditorPane documents={documents} save={save} run={() => void run()} />
        </div>
        {panel && (
          <>
            <Splitter name={t("editor.panel.resize")} size={panelSize} axis="y" before={false} />
            <div className="shrink-0 overflow-hidden" style={{ height: panelSize.px }}>
              {panel}
            </div>
          </>
        )}
      </div>
      {conflict && <ConflictDialog documents={documents} path={conflict.path} gone={conflict.gone} />}
      {closing && <CloseDialog documents={documents} path={closing} onDone={() => setClosing(null)} />}
    </div>
  );
}

/** Tabs as WAI-ARIA describes them: one tab stop, arrows move, Delete closes; the cross is for the mouse. */
function Tabs({ documents, onClose }: { documents: Documents; onClose: (path: string) => void }) {
  const { t } = useText();
  const { files, active } = useStore(documents.state);
  const list = useRef<HTMLDivElement>(null);

  const onKeyDown = (event: KeyboardEvent, path: string, at: number) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const next = step === undefined ? undefined : files[(at + step + files.length) % files.length];
    if (next) {
      documents.activate(next.path);
      list.current?.querySelectorAll<HTMLElement>('[role="tab"]')[files.indexOf(next)]?.focus();
    } else if (event.key === "Delete") onClose(path);
    else return;
    event.preventDefault();
  };

  return (
    <div ref={list} role="tablist" aria-label={t("editor.tabs")} className="flex min-w-0 grow overflow-x-auto">
      {files.map((file, at) => (
        <div
          key={file.path}
          role="presentation"
          className={`group flex items-center gap-1 border-r border-line pr-1 ${file.path === active ? "bg-panel shadow-[inset_0_2px_0_var(--cds-accent)]" : "text-muted"}`}
          onAuxClick={(event) => event.button === 1 && onClose(file.path)}
        >
          <button
            type="button"
            role="tab"
            tabIndex={file.path === active ? 0 : -1}
            aria-selected={file.path === active}
            aria-controls="editor-panel"
            aria-keyshortcuts="Delete"
            title={file.path}
            onClick={() => documents.activate(file.path)}
            onKeyDown={(event) => onKeyDown(event, file.path, at)}
            className="flex h-full items-center gap-2 pl-3 -outline-offset-2"
          >
            {nameOf(file.path)}
            {file.unsaved && (
              <span className="size-2 rounded-full bg-accent-2">
                <span className="sr-only">{t("files.unsaved")}</span>
              </span>
            )}
          </button>
          <IconButton name={t("editor.close", { name: nameOf(file.path) })} icon="close" className="size-6" tabIndex={-1} aria-hidden="true" onClick={() => onClose(file.path)} />
        </div>
      ))}
    </div>
  );
}
