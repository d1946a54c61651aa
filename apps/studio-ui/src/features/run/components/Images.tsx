import { useState, type FormEvent } from "react";
import { Button, IconButton } from "@/components/ui/Button";
import { Dialog } from "@/components/ui/Dialog";
import { SelectField, TextField } from "@/components/ui/Field";
import { Problem } from "@/components/ui/Problem";
import { toFailure, type Failure } from "@/lib/failure";
import { bytes, moment } from "@/lib/format";
import { useText } from "@/lib/i18n/i18n";
import { useStore } from "@/lib/store";
import { rpc, session } from "@/lib/studio";
import { images } from "../model";
import { isImageName, type Image } from "../model/images";

/** Opens what microVMs can start from; admins change it there. */
export function ImagesButton({ project }: { project: string }) {
  const { t } = useText();
  const [open, setOpen] = useState(false);
  const show = () => {
    void images.load();
    setOpen(true);
  };
  return (
    <>
      <Button small look="quiet" icon="disk" onClick={show}>
        {t("images.open")}
      </Button>
      {open && <ImagesDialog project={project} onClose={() => setOpen(false)} />}
    </>
  );
}

function ImagesDialog({ project, onClose }: { project: string; onClose: () => void }) {
  const { t } = useText();
  const { list, failure } = useStore(images.state);
  const who = useStore(session.state);
  const admin = who.status === "signed-in" && who.user.role === "admin";
  const [wrong, setWrong] = useState<Failure | null>(null);
  const [asked, setAsked] = useState<string | null>(null);
  const remove = async (name: string) => {
    setWrong(null);
    setAsked(null);
    await rpc.call("image.remove", { name }).catch((error: unknown) => setWrong(toFailure(error)));
    await images.load();
  };
  return (
    <Dialog title={t("images.title")} onClose={onClose}>
      <p className="text-muted">{t("images.what")}</p>
      {failure && <Problem failure={failure} compact onRetry={() => void images.load()} />}
      {!list && !failure && <p className="text-muted">{t("common.loading")}</p>}
      {list?.length === 0 && <p>{t("images.none")}</p>}
      <ul className="grid max-h-72 grid-cols-[minmax(0,1fr)] gap-1 overflow-y-auto" aria-label={t("images.title")}>
        {list?.map((image) => (
          <Row key={image.name} image={image} admin={admin} asked={asked === image.name} onAsk={setAsked} onRemove={(name) => void remove(name)} />
        ))}
      </ul>
      {wrong && <Problem failure={wrong} compact />}
      {admin ? <AddForm project={project} /> : <p className="text-[0.8125rem] text-muted">{t("images.admins")}</p>}
    </Dialog>
  );
}

interface RowProps {
  image: Image;
  admin: boolean;
  /** It was asked to be removed, and is once more. */
  asked: boolean;
  onAsk(name: string | null): void;
  onRemove(name: string): void;
}

function Row({ image, admin, asked, onAsk, onRemove }: RowProps) {
  const { t, locale } = useText();
  return (
    <li className="flex items-center gap-3 rounded-small border border-line bg-raised px-3 py-2">
      <span className="min-w-0 flex-1">
        <span className="block font-mono text-[0.8125rem] font-semibold break-all">{image.name}</span>
        <span className="block text-xs text-muted">
          {[bytes(image.size_bytes, locale), image.languages.map((one) => t(`run.language.${one}`)).join(", "), t(`images.source.${image.source}`), moment(new Date(image.added_ms), locale)].join(" · ")}
        </span>
        {image.digest !== "" && <span className="block truncate font-mono text-xs text-muted">{`sha256:${image.digest}`}</span>}
      </span>
      {admin && image.source !== "built_in" && !asked && <IconButton name={t("images.remove", { name: image.name })} icon="trash" onClick={() => onAsk(image.name)} />}
      {asked && (
        <span className="flex gap-2">
          <Button small onClick={() => onAsk(null)}>
            {t("common.cancel")}
          </Button>
          <Button small look="danger" onClick={() => onRemove(image.name)}>
            {t("images.remove.sure")}
          </Button>
        </span>
      )}
    </li>
  );
}

function AddForm({ project }: { project: string }) {
  const { t } = useText();
  const [from, setFrom] = useState<"project" | "registry">("project");
  const [name, setName] = useState("");
  const [source, setSource] = useState("");
  const [failure, setFailure] = useState<Failure | null>(null);
  const [working, setWorking] = useState(false);
  const bad = name !== "" && !isImageName(name);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (working || !isImageName(name)) return;
    setWorking(true);
    setFailure(null);
    try {
      if (from === "project") await rpc.call("image.add", { name, project, path: source.trim() });
      else await rpc.call("image.pull", { name, reference: source.trim() });
      setName("");
      setSource("");
    } catch (error) {
      setFailure(toFailure(error));
    }
    setWorking(false);
    await images.load();
  };
  return (
    <form className="grid gap-4 border-t border-line pt-4" onSubmit={(event) => void submit(event)} aria-label={t("images.add")}>
      <div className="grid gap-4 sm:grid-cols-2">
        <TextField label={t("images.name")} value={name} maxLength={63} spellCheck={false} autoComplete="off" className="font-mono" error={bad ? t("images.name.bad") : undefined} onChange={(event) => setName(event.target.value)} />
        <SelectField label={t("images.from")} value={from} onChange={(event) => setFrom(event.target.value as typeof from)}>
          <option value="project">{t("images.from.project")}</option>
          <option value="registry">{t("images.from.registry")}</option>
        </SelectField>
      </div>
      <TextField
        label={t(from === "project" ? "images.path" : "images.reference")}
        hint={t(from === "project" ? "images.path.hint" : "images.reference.hint")}
        value={source}
        maxLength={from === "project" ? 4096 : 255}
        spellCheck={false}
        autoComplete="off"
        className="font-mono"
        onChange={(event) => setSource(event.target.value)}
      />
      {failure && <Problem failure={failure} compact />}
      <div className="flex justify-end">
        <Button look="primary" type="submit" disabled={working || !isImageName(name) || source.trim() === ""}>
          {t(working ? "images.adding" : "images.add")}
        </Button>
      </div>
    </form>
  );
}
