import { Button } from "@/components/ui/Button";
import { CopyButton } from "@/components/ui/CopyButton";
import { Dialog } from "@/components/ui/Dialog";
import { moment } from "@/lib/format";
import { useText } from "@/lib/i18n/i18n";
import type { Handed } from "../model/users";

/** The link, once: closing the dialog forgets it. */
export function LinkDialog({ handed, onClose }: { handed: Handed; onClose: () => void }) {
  const { t, locale } = useText();
  return (
    <Dialog title={t(`admin.link.${handed.kind}.title`, { email: handed.email })} onClose={onClose}>
      <p>{t("admin.link.what", { time: moment(new Date(handed.expiresAt), locale) })}</p>
      <div className="flex items-center gap-2 rounded-small border border-line bg-raised px-3 py-2">
        <output className="min-w-0 flex-1 font-mono text-[0.8125rem] break-all" data-testid="link">
          {handed.link}
        </output>
        <CopyButton text={handed.link} name={t("admin.link.copy")} />
      </div>
      <div className="flex justify-end">
        <Button data-first onClick={onClose}>
          {t("common.close")}
        </Button>
      </div>
    </Dialog>
  );
}
