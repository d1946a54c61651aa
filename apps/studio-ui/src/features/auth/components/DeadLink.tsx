import { Button } from "@/components/ui/Button";
import { Icon } from "@/components/ui/Icon";
import { useText } from "@/lib/i18n/i18n";
import { navigate } from "@/lib/router";
import type { LinkState } from "../model/setupLink";

/** Instead of the form of a one-time link that is good no more. */
export function DeadLink({ kind, state }: { kind: "setup" | "invite"; state: Exclude<LinkState, "usable"> }) {
  const { t } = useText();
  return (
    <div className="grid gap-4" role="alert">
      <h1 className="heading flex items-center gap-2.5 text-2xl">
        <Icon name="alert" size={24} className="text-warn" />
        {t(`auth.${kind}.${state}.title`)}
      </h1>
      <p className="text-muted">{t(`auth.${kind}.${state}.text`)}</p>
      <Button look={state === "used" ? "primary" : "plain"} onClick={() => navigate("/login")} className="justify-self-start">
        {t("auth.setup.login")}
      </Button>
    </div>
  );
}
