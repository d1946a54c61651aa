import { Button } from "@/components/ui/Button";
import { Dialog } from "@/components/ui/Dialog";
import { useText } from "@/lib/i18n/i18n";
import type { Documents } from "../model/documents";
import { nameOf } from "../model/paths";

/** The server's file is not the one that was opened. Nothing is chosen for the reader. */
export function ConflictDialog({ documents, path, gone }: { documents: Documents; path: string; gone: boolean }) {
  const { t } = useText();
  const choices = [
    ...(gone ? [] : [{ text: t("editor.conflict.reload"), hint: t("editor.conflict.reload.hint"), act: () => void documents.reload(path), danger: false }]),
    { text: t("editor.conflict.overwrite"), hint: t("editor.conflict.overwrite.hint"), act: () => void documents.save(path, true), danger: true },
  ];
  return (
    <Dialog title={t("editor.conflict.title", { name: nameOf(path) })} onClose={() => documents.keepEditing()}>
      <p>{t(gone ? "editor.conflict.gone" : "editor.conflict.text")}</p>
      <div className="grid gap-2">
        {choices.map((choice) => (
          <div key={choice.text} className="flex flex-wrap items-center gap-x-3 gap-y-1">
            <Button look={choice.danger ? "danger" : "plain"} onClick={choice.act}>
              {choice.text}
            </Button>
            {!gone && <span className="text-[0.8125rem] text-muted">{choice.hint}</span>}
          </div>
        ))}
        <Button look="primary" className="mt-2 justify-self-end" data-first onClick={() => documents.keepEditing()}>
          {t("editor.conflict.keep")}
        </Button>
      </div>
    </Dialog>
  );
}

export function CloseDialog({ documents, path, onDone }: { documents: Documents; path: string; onDone: () => void }) {
  const { t } = useText();
  const drop = () => {
    documents.close(path);
    onDone();
  };
  const save = async () => {
    onDone();
    if (await documents.save(path)) documents.close(path);
  };
  return (
    <Dialog title={t("editor.close.title", { name: nameOf(path) })} onClose={onDone}>
      <p>{t("editor.close.text")}</p>
      <div className="flex flex-wrap justify-end gap-2">
        <Button onClick={onDone}>{t("common.cancel")}</Button>
        <Button look="danger" onClick={drop}>
          {t("editor.close.drop")}
        </Button>
        <Button look="primary" data-first onClick={() => void save()}>
          {t("editor.close.save")}
        </Button>
      </div>
    </Dialog>
  );
}
