import type { Failure } from "@/lib/failure";
import { useText } from "@/lib/i18n/i18n";
import { Button, IconButton } from "./Button";
import { Problem } from "./Problem";

export interface PortChip {
  port: number;
  /** A preview of it is open. */
  open: boolean;
}

/** One chip for each port a program listens on: open it in a tab of its own, or close what is open. Nothing while there is none. above: what they belong to is below them. */
export function PortChips({ chips, failure, above = false, onOpen, onClose, onDismiss }: { chips: readonly PortChip[]; failure: Failure | null; above?: boolean; onOpen: (port: number) => void; onClose: (port: number) => void; onDismiss: () => void }) {
  const { t } = useText();
  if (chips.length === 0 && !failure) return null;
  return (
    <div className={`grid gap-2 border-line bg-panel px-3 py-1.5 ${above ? "border-b" : "border-t"}`}>
      <ul aria-label={t("preview.ports")} className="flex flex-wrap items-center gap-2">
        {chips.map(({ port, open }) => (
          <li key={port} className="flex items-center rounded-small border border-edge bg-raised">
            <span className="flex items-center gap-2 px-2.5 font-mono text-xs">
              <span aria-hidden="true" className={`size-2 rounded-full ${open ? "bg-ok" : "bg-accent"}`} />
              {t("preview.port", { port })}
            </span>
            <Button small look="quiet" icon="eye" onClick={() => onOpen(port)}>
              {t("preview.open")}
            </Button>
            {open && <IconButton name={t("preview.close", { port })} icon="close" onClick={() => onClose(port)} />}
          </li>
        ))}
      </ul>
      {failure && (
        <Problem failure={failure} compact>
          <Button small onClick={onDismiss}>
            {t("common.close")}
          </Button>
        </Problem>
      )}
    </div>
  );
}
