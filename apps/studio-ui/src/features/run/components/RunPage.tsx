import { useEffect, useState, type FormEvent } from "react";
import { Button } from "@/components/ui/Button";
import { Empty } from "@/components/ui/Empty";
import { SelectField, TextArea, TextField } from "@/components/ui/Field";
import { clock } from "@/lib/format";
import { useText, type TextKey } from "@/lib/i18n/i18n";
import { useStore } from "@/lib/store";
import { mayDevelop } from "@/lib/workspace";
import { form, images, runs } from "../model";
import { defaultImage, inMicroVm, languageOfPath, paramsOf, ranges, runLanguages, type LimitName, type RunForm, type RunLanguage } from "../model/form";
import { imagesWith } from "../model/images";
import { nameOfRun } from "../model/runs";
import { ImagesButton } from "./Images";
import { NetworkButton } from "./Network";
import { RunView } from "./RunPanel";
import { Verdict } from "./Verdict";

const limitLabels: Record<LimitName, TextKey> = { wallS: "run.limits.wall", cpuS: "run.limits.cpu", memoryMiB: "run.limits.memory" };

export function RunPage({ project }: { project: string }) {
  const { t } = useText();
  const { list, shown } = useStore(runs.state);
  const run = list.find((one) => one.id === shown);
  return (
    <div className="flex h-full min-h-0 flex-col overflow-auto lg:flex-row lg:overflow-hidden">
      <div className="shrink-0 border-line bg-panel lg:w-96 lg:overflow-auto lg:border-r">
        <div className="flex items-center justify-between gap-2 px-4 pt-4">
          <h1 className="heading text-xl">{t("run.title")}</h1>
          <span className="flex">
            <ImagesButton project={project} />
            <NetworkButton project={project} />
          </span>
        </div>
        <Form project={project} />
        <History />
      </div>
      <div className="min-h-80 min-w-0 grow">
        {run ? (
          <RunView run={run} />
        ) : (
          <Empty icon="play" title={t("run.empty.title")} text={t("run.empty.text")}>
            <Button look="primary" icon="play" disabled={!mayDevelop()} onClick={() => void runs.start({ project, language: "python", code: "print('Hello from the sandbox')\n" })}>
              {t("run.empty.action")}
            </Button>
          </Empty>
        )}
      </div>
    </div>
  );
}

function Form({ project }: { project: string }) {
  const { t } = useText();
  const now = useStore(form);
  const { list } = useStore(runs.state);
  const [bad, setBad] = useState<LimitName[]>([]);
  const running = list.some((run) => run.state !== "ended");
  const change = (part: Partial<RunForm>) => form.set((old) => ({ ...old, ...part }));
  const complete = now.source === "file" ? now.path.trim() !== "" : now.code !== "";

  const submit = (event: FormEvent) => {
    event.preventDefault();
    const params = paramsOf(project, now);
    setBad(Array.isArray(params) ? params : []);
    if (!Array.isArray(params)) void runs.start(params);
  };

  return (
    <form onSubmit={submit} className="grid gap-4 p-4" aria-label={t("run.title")}>
      <SelectField label={t("run.source")} value={now.source} onChange={(event) => change({ source: event.target.value as RunForm["source"] })}>
        <option value="file">{t("run.source.file")}</option>
        <option value="code">{t("run.source.code")}</option>
      </SelectField>
      {now.source === "file" ? (
        <TextField
          label={t("run.path")}
          hint={t("run.path.hint")}
          className="font-mono"
          value={now.path}
          maxLength={4096}
          spellCheck={false}
          autoComplete="off"
          onChange={(event) => change({ path: event.target.value, language: languageOfPath(event.target.value) ?? now.language })}
        />
      ) : (
        <TextArea label={t("run.code")} rows={8} maxLength={524288} value={now.code} onChange={(event) => change({ code: event.target.value })} />
      )}
      <SelectField label={t("run.language")} value={now.language} onChange={(event) => change({ language: event.target.value as RunLanguage })}>
        {runLanguages.map((language) => (
          <option key={language} value={language}>
            {t(`run.language.${language}`)}
          </option>
        ))}
      </SelectField>
      <Engine now={now} change={change} />
      <TextArea label={t("run.argv")} rows={2} value={now.argv} onChange={(event) => change({ argv: event.target.value })} />
      <TextArea label={t("run.stdin")} rows={2} maxLength={1048576} value={now.stdin} onChange={(event) => change({ stdin: event.target.value })} />
      <fieldset className="grid gap-2">
        <legend className="label mb-1.5 text-muted">{t("run.limits")}</legend>
        <div className="grid grid-cols-3 items-start gap-2">
          {(Object.keys(limitLabels) as LimitName[]).map((name) => (
            <TextField
              key={name}
              label={t(limitLabels[name])}
              inputMode="decimal"
              placeholder={t("run.limits.default")}
              aria-invalid={bad.includes(name) || undefined}
              value={now[name]}
              onChange={(event) => change({ [name]: event.target.value })}
            />
          ))}
        </div>
        {bad.map((name) => (
          <p key={name} role="alert" className="text-[0.8125rem] text-danger">
            {t("run.limits.bad", { name: t(limitLabels[name]), ...ranges[name] })}
          </p>
        ))}
      </fieldset>
      <Button look="primary" type="submit" icon="play" disabled={running || !complete || !mayDevelop()}>
        {t(running ? "run.running" : "run.start")}
      </Button>
    </form>
  );
}

/** What holds the program, and with a microVM what that starts from. */
function Engine({ now, change }: { now: RunForm; change: (part: Partial<RunForm>) => void }) {
  const { t } = useText();
  const { list } = useStore(images.state);
  const possible = inMicroVm(now.language);
  const micro = possible && now.engine === "micro";
  useEffect(() => {
    if (micro) void images.load();
  }, [micro]);
  const fitting = imagesWith(list ?? [], now.language);
  // One that was removed, or holds no such language, must not be sent unseen.
  const stale = micro && list !== null && now.image !== defaultImage && !fitting.some((image) => image.name === now.image);
  useEffect(() => {
    if (stale) change({ image: defaultImage });
  });
  return (
    <>
      <SelectField
        label={t("run.engine")}
        hint={possible ? undefined : t("run.engine.none")}
        value={micro ? "micro" : "run"}
        disabled={!possible}
        className="disabled:opacity-55"
        onChange={(event) => change({ engine: event.target.value as RunForm["engine"] })}
      >
        <option value="run">{t("run.engine.run")}</option>
        <option value="micro">{t("run.engine.micro")}</option>
      </SelectField>
      {micro && (
        <SelectField label={t("run.image")} value={stale ? defaultImage : now.image} onChange={(event) => change({ image: event.target.value })}>
          <option value={defaultImage}>{t("run.image.default")}</option>
          {fitting
            .filter((image) => image.name !== defaultImage)
            .map((image) => (
              <option key={image.name} value={image.name}>
                {image.name}
              </option>
            ))}
        </SelectField>
      )}
    </>
  );
}

function History() {
  const { t, locale } = useText();
  const { list, shown } = useStore(runs.state);
  return (
    <section className="border-t border-line p-4">
      <h2 className="label mb-2 text-muted">{t("run.history")}</h2>
      {list.length === 0 && <p className="text-[0.8125rem] text-muted">{t("run.history.none")}</p>}
      <ul className="grid gap-1">
        {list.map((run) => (
          <li key={run.id}>
            <button
              type="button"
              aria-current={run.id === shown}
              onClick={() => runs.show(run.id)}
              className="flex w-full items-center gap-3 rounded-small px-2 py-1 text-left hover:bg-hover aria-[current=true]:bg-selected"
            >
              <span className="font-mono text-xs text-muted">{clock(new Date(run.startedAt), locale)}</span>
              <span className="min-w-0 grow truncate">{nameOfRun(run)}</span>
              <span className="text-[0.8125rem]">{run.failure ? <span className="text-danger">{t(`problem.${run.failure.name}`)}</span> : <Verdict run={run} />}</span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
