import { useEffect, useRef, useState } from "react";
import { Empty } from "@/components/ui/Empty";
import { bytes } from "@/lib/format";
import { useText } from "@/lib/i18n/i18n";
import { useStore } from "@/lib/store";
import { mayDevelop } from "@/lib/workspace";
import type { Documents } from "../model/documents";
import { nameOf } from "../model/paths";
import type { EditorHandle, MonacoBuffer } from "../monaco/monaco";

interface Props {
  documents: Documents;
  save(): void;
  run(): void;
}

/** Holds one Monaco editor and shows the active file in it. */
export function EditorPane({ documents, save, run }: Props) {
  const { t, locale } = useText();
  const { active, files, opening } = useStore(documents.state);
  const box = useRef<HTMLDivElement>(null);
  const [editor, setEditor] = useState<EditorHandle | null>(null);
  const [cursor, setCursor] = useState({ line: 1, column: 1 });
  const keys = useRef({ save, run });
  useEffect(() => {
    keys.current = { save, run };
  });
  const file = files.find((one) => one.path === active);
  const text = file?.buffer != null;

  useEffect(() => {
    if (!text || !box.current) return;
    const holder = box.current;
    let mounted: EditorHandle | null = null;
    let gone = false;
    void import("../monaco/monaco").then(({ mountEditor }) => {
      if (gone) return;
      mounted = mountEditor(holder, {
        save: () => keys.current.save(),
        run: () => keys.current.run(),
        onCursor: (line, column) => setCursor({ line, column }),
      });
      setEditor(mounted);
    });
    return () => {
      gone = true;
      mounted?.dispose();
      setEditor(null);
    };
  }, [text]);

  const buffer = (file?.buffer ?? null) as MonacoBuffer | null;
  const name = file ? nameOf(file.path) : "";
  useEffect(() => {
    editor?.show(buffer, t("editor.label", { name }), !mayDevelop());
  }, [editor, buffer, name, t]);
  useEffect(() => {
    if (buffer) editor?.focus();
  }, [editor, buffer]);

  if (!file) {
    if (opening) return <p className="grid h-full place-items-center text-muted">{t("editor.loading")}</p>;
    return <Empty icon="code" title={t("editor.empty.title")} text={t("editor.empty.text")} />;
  }
  if (!file.buffer) return <Empty icon="file" title={t("editor.binary.title", { name })} text={t("editor.binary.text", { size: bytes(file.sizeBytes, locale) })} />;
  return (
    <div className="flex h-full min-h-0 flex-col">
      <div ref={box} className="min-h-0 grow" data-testid="editor" />
      <div className="flex items-center gap-4 border-t border-line px-3 py-0.5 font-mono text-xs text-muted">
        <span className="min-w-0 truncate">{file.path}</span>
        {!mayDevelop() && <span className="text-warn">{t("editor.readOnly")}</span>}
        <span className="ml-auto whitespace-nowrap">{t("editor.cursor", { line: cursor.line, column: cursor.column })}</span>
      </div>
    </div>
  );
}
