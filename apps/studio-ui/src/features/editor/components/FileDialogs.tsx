import { useState, type FormEvent } from "react";
import { Button } from "@/components/ui/Button";
import { Dialog } from "@/components/ui/Dialog";
import { TextField } from "@/components/ui/Field";
import { Problem } from "@/components/ui/Problem";
import { toFailure, type Failure } from "@/lib/failure";
import { useText } from "@/lib/i18n/i18n";
import { isUsableName, join } from "../model/paths";
import type { Row } from "../model/tree";

/** Runs a server call of a dialog: closes it on success, shows the failure and keeps what was typed otherwise. */
function useWork(onClose: () => void) {
  const [working, setWorking] = useState(false);
  const [failure, setFailure] = useState<Failure | null>(null);
  const work = async (call: () => Promise<void>) => {
    if (working) return;
    setWorking(true);
    setFailure(null);
    try {
      await call();
      onClose();
    } catch (error) {
      setFailure(toFailure(error));
      setWorking(false);
    }
  };
  return { working, failure, work };
}

interface NameFormProps {
  label: string;
  first: string;
  submit: string;
  onClose(): void;
  act(name: string): Promise<void>;
}

function NameForm({ label, first, submit, onClose, act }: NameFormProps) {
  const { t } = useText();
  const [name, setName] = useState(first);
  const { working, failure, work } = useWork(onClose);
  const bad = name !== "" && !isUsableName(name);
  const onSubmit = (event: FormEvent) => {
    event.preventDefault();
    if (isUsableName(name)) void work(() => act(name));
  };
  return (
    <form onSubmit={onSubmit} className="grid gap-4">
      <TextField
        label={label}
        value={name}
        spellCheck={false}
        autoComplete="off"
        className="font-mono"
        maxLength={1024}
        error={bad ? t("files.name.bad") : undefined}
        onChange={(event) => setName(event.target.value)}
      />
      {failure && <Problem failure={failure} compact />}
      <div className="flex justify-end gap-2">
        <Button onClick={onClose}>{t("common.cancel")}</Button>
        <Button look="primary" type="submit" disabled={working || !isUsableName(name)}>
          {submit}
        </Button>
      </div>
    </form>
  );
}

export function NewDialog({ what, folder, onClose, create }: { what: "file" | "dir"; folder: string; onClose: () => void; create: (path: string) => Promise<void> }) {
  const { t } = useText();
  return (
    <Dialog title={t(what === "file" ? "files.newIn" : "files.newFolderIn", { folder: folder || t("files.root") })} onClose={onClose}>
      <NameForm label={t("files.name")} first="" submit={t("files.create")} onClose={onClose} act={(name) => create(join(folder, name))} />
    </Dialog>
  );
}

export function RenameDialog({ row, onClose, rename }: { row: Row; onClose: () => void; rename: (to: string) => Promise<void> }) {
  const { t } = useText();
  return (
    <Dialog title={t("files.rename.title", { name: row.name })} onClose={onClose}>
      <NameForm label={t("files.rename.to")} first={row.path} submit={t("files.rename")} onClose={onClose} act={(to) => (to === row.path ? Promise.resolve() : rename(to))} />
    </Dialog>
  );
}

export function DeleteDialog({ row, onClose, remove }: { row: Row; onClose: () => void; remove: () => Promise<void> }) {
  const { t } = useText();
  const { working, failure, work } = useWork(onClose);
  return (
    <Dialog title={t("files.delete.title", { name: row.name })} onClose={onClose}>
      <p>{t(row.type === "dir" ? "files.delete.dir" : "files.delete.file")}</p>
      <p className="font-mono text-[0.8125rem] break-all text-muted">{row.path}</p>
      {failure && <Problem failure={failure} compact />}
      <div className="flex justify-end gap-2">
        <Button onClick={onClose} data-first>
          {t("common.cancel")}
        </Button>
        <Button look="danger" icon="trash" disabled={working} onClick={() => void work(remove)}>
          {t("files.delete.confirm")}
        </Button>
      </div>
    </Dialog>
  );
}
