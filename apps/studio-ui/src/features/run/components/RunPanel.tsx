import { useEffect, useRef, useState } from "react";
import { Button } from "@/components/ui/Button";
import { CopyButton } from "@/components/ui/CopyButton";
import { PortChips } from "@/components/ui/PortChips";
import { useText } from "@/lib/i18n/i18n";
import { useStore } from "@/lib/store";
import { usePorts } from "@/lib/usePorts";
import { runs } from "../model";
import { nameOfRun, type Run } from "../model/runs";
import { Output } from "./Output";
import { ProjectBack } from "./ProjectBack";
import { Facts, Verdict } from "./Verdict";

/** Says in words when a run starts and how it ended. */
function Announcer({ run }: { run: Run }) {
  const { t } = useText();
  const [said, setSaid] = useState("");
  const last = useRef("");
  useEffect(() => {
    const key = `${run.id} ${run.state}`;
    if (last.current === key || run.state === "stopping") return;
    last.current = key;
    const name = nameOfRun(run);
    if (run.state === "running") setSaid(t("run.announce.start", { name }));
    else if (run.result) setSaid(t("run.announce.end", { name, end: t(`run.end.${run.result.end}`), code: run.result.exit_code ?? "-" }));
  }, [run, t]);
  return (
    <span role="status" className="sr-only">
      {said}
    </span>
  );
}

/** One run: head with verdict and buttons, output below. Used under the editor and on the Run page. */
export function RunView({ run }: { run: Run }) {
  const { t } = useText();
  return (
    <div className="flex h-full min-h-0 flex-col bg-panel">
      <div className="flex min-h-10 flex-wrap items-center gap-x-4 gap-y-1 border-b border-line px-4 py-1">
        <span className="min-w-0 truncate font-mono text-[0.8125rem] font-semibold">{nameOfRun(run)}</span>
        <Verdict run={run} />
        <Facts run={run} />
        <span className="ml-auto flex items-center gap-1">
          {run.state === "ended" ? (
            <Button small icon="refresh" look="quiet" onClick={() => runs.again(run)}>
              {t("run.again")}
            </Button>
          ) : (
            <Button small icon="stop" look="danger" disabled={run.state === "stopping"} onClick={() => runs.stop()}>
              {t("run.stop")}
            </Button>
          )}
          <CopyButton name={t("run.output.copy")} text={run.output.segments.map((segment) => segment.text).join("")} />
        </span>
      </div>
      {run.state !== "ended" && run.runId && <RunPorts key={run.runId} project={run.params.project} runId={run.runId} />}
      {run.result?.project_back && <ProjectBack back={run.result.project_back} />}
      <div className="min-h-0 grow">
        <Output key={run.id} run={run} />
      </div>
      <Announcer run={run} />
    </div>
  );
}

/** Ports that its programs listen on. */
function RunPorts({ project, runId }: { project: string; runId: string }) {
  const { chips, failure, open, close, dismiss } = usePorts({ project, run_id: runId });
  return <PortChips above chips={chips} failure={failure} onOpen={open} onClose={close} onDismiss={dismiss} />;
}

/** The latest run, for the foot of the Code page; nothing before the first one. */
export function useRunPanel() {
  const { list } = useStore(runs.state);
  const latest = list[0];
  return { panel: latest ? <RunView run={latest} /> : null, running: latest !== undefined && latest.state !== "ended" };
}
