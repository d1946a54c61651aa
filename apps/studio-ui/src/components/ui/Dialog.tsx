import { useEffect, useId, useRef, type ReactNode } from "react";
import { useText } from "@/lib/i18n/i18n";
import { IconButton } from "./Button";

/** A modal question. The browser's own dialog keeps the focus inside and gives it back; Escape closes. */
export function Dialog({ title, onClose, children }: { title: string; onClose: () => void; children: ReactNode }) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  const { t } = useText();
  useEffect(() => {
    const dialog = ref.current;
    if (dialog && !dialog.open) {
      dialog.showModal();
      // The first field, or the answer that does no harm; otherwise the browser would take the close button.
      dialog.querySelector<HTMLElement>("input, select, textarea, [data-first]")?.focus();
    }
    return () => dialog?.close();
  }, []);
  return (
    <dialog
      ref={ref}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onMouseDown={(event) => event.target === ref.current && onClose()}
      className="surface rise w-full p-0 shadow-base"
    >
      <div className="flex items-center gap-3 border-b border-line px-5 py-3">
        <h2 id={id} className="heading grow text-lg break-words">
          {title}
        </h2>
        <IconButton name={t("common.close")} icon="close" onClick={onClose} />
      </div>
      <div className="grid gap-4 p-5">{children}</div>
    </dialog>
  );
}
