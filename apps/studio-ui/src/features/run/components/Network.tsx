import { useEffect, useState } from "react";
import { Button } from "@/components/ui/Button";
import { Dialog } from "@/components/ui/Dialog";
import { SelectField, TextArea } from "@/components/ui/Field";
import { Problem } from "@/components/ui/Problem";
import { toFailure, type Failure } from "@/lib/failure";
import { useText } from "@/lib/i18n/i18n";
import type { ProjectNetworkGetResult } from "@/lib/rpc/methods.gen";
import { rpc } from "@/lib/studio";
import { useSubmit } from "@/lib/useSubmit";
import { mayDevelop } from "@/lib/workspace";
import { hostsOf, lineOf } from "../model/network";

/** Opens what runs and terminals of the project may reach. */
export function NetworkButton({ project }: { project: string }) {
  const { t } = useText();
  const [open, setOpen] = useState(false);
  return (
    <>
      <Button small look="quiet" icon="globe" disabled={!mayDevelop()} onClick={() => setOpen(true)}>
        {t("network.open")}
      </Button>
      {open && <NetworkDialog project={project} onClose={() => setOpen(false)} />}
    </>
  );
}

function NetworkDialog({ project, onClose }: { project: string; onClose: () => void }) {
  const { t } = useText();
  const [known, setKnown] = useState<ProjectNetworkGetResult | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);
  useEffect(() => {
    let here = true;
    rpc.call("project.network.get", { project }).then(
      (answer) => here && setKnown(answer),
      (error: unknown) => here && setFailure(toFailure(error)),
    );
    return () => {
      here = false;
    };
  }, [project]);
  return (
    <Dialog title={t("network.title")} onClose={onClose}>
      {failure && <Problem failure={failure} compact />}
      {!known && !failure && <p className="text-muted">{t("common.loading")}</p>}
      {known?.hosts.length === 0 && (
        <>
          <p>{t("network.closed")}</p>
          <p className="text-muted">{t("network.closed.do")}</p>
        </>
      )}
      {known && known.hosts.length > 0 && <NetworkForm project={project} known={known} onClose={onClose} />}
    </Dialog>
  );
}

function NetworkForm({ project, known, onClose }: { project: string; known: ProjectNetworkGetResult; onClose: () => void }) {
  const { t } = useText();
  const [mode, setMode] = useState(known.mode);
  const [text, setText] = useState(known.rules.join("\n"));
  const { working, failure, submit } = useSubmit(async () => {
    await rpc.call("project.network.set", { project, mode, rules: hostsOf(text) });
    onClose();
  });
  const wrong = failure ? lineOf(text, failure.facts.pointer) : null;
  return (
    <form className="grid gap-4" onSubmit={submit}>
      <p className="text-muted">{t("network.what")}</p>
      <SelectField label={t("network.mode")} value={mode} onChange={(event) => setMode(event.target.value as typeof mode)}>
        <option value="off">{t("network.mode.off")}</option>
        <option value="allow">{t("network.mode.allow")}</option>
      </SelectField>
      <TextArea
        label={t("network.rules")}
        hint={t("network.rules.hint")}
        error={wrong ? t("network.rules.wrong", wrong) : undefined}
        rows={6}
        maxLength={17000}
        placeholder={"pypi.org\n*.example.org\nregistry.example.org:8443"}
        value={text}
        onChange={(event) => setText(event.target.value)}
      />
      <p className="text-[0.8125rem] text-muted">
        {t("network.hosts")} <span className="font-mono break-words">{known.hosts.join("  ")}</span>
      </p>
      {failure && <Problem failure={failure} compact />}
      <div className="flex justify-end gap-2">
        <Button onClick={onClose}>{t("common.cancel")}</Button>
        <Button look="primary" type="submit" disabled={working}>
          {t("network.save")}
        </Button>
      </div>
    </form>
  );
}
