import { useEffect, useState } from "react";
import { useText } from "@/lib/i18n/i18n";
import { IconButton } from "./Button";

/** The clipboard API exists on https and loopback only; elsewhere the older way is used. */
async function copy(text: string): Promise<boolean> {
  try {
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(text);
      return true;
    }
  } catch {
    // Refused: the older way below may still work.
  }
  const area = document.createElement("textarea");
  area.value = text;
  area.setAttribute("readonly", "");
  area.className = "fixed opacity-0";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

export function CopyButton({ text, name }: { text: string; name?: string }) {
  const { t } = useText();
  const [done, setDone] = useState<boolean | null>(null);
  useEffect(() => {
    if (done === null) return;
    const timer = setTimeout(() => setDone(null), 1600);
    return () => clearTimeout(timer);
  }, [done]);
  const shown = done === null ? (name ?? t("common.copy")) : done ? t("common.copied") : t("common.copy.failed");
  return (
    <>
      <IconButton name={shown} icon={done ? "check" : "copy"} className={done ? "text-ok" : ""} onClick={() => void copy(text).then(setDone)} />
      <span role="status" className="sr-only">
        {done === null ? "" : shown}
      </span>
    </>
  );
}
