import { useEffect, useState } from "react";
import { DryRunDialog } from "@/components/DryRunDialog";
import { TextField } from "@/components/ui/Field";
import { useText } from "@/lib/i18n/i18n";
import { rpc } from "@/lib/studio";
import { findUser } from "../model/find";

/** The dry run for anybody: whose request it would be is one question more. */
export function DryRun({ onClose }: { onClose: () => void }) {
  const { t } = useText();
  const [models, setModels] = useState<string[] | null>(null);
  const [email, setEmail] = useState("");
  const [unknown, setUnknown] = useState(false);
  const [name, setName] = useState("");
  useEffect(() => {
    rpc.call("price.list", {}).then(
      (answer) => setModels([...new Set(answer.prices.filter((price) => price.state === "now").map((price) => price.model))]),
      () => setModels([]),
    );
  }, []);
  if (!models) return null;
  return (
    <DryRunDialog
      models={models}
      name={name}
      ready={!unknown}
      onClose={onClose}
      who={
        <TextField
          label={t("dryrun.who")}
          hint={t("dryrun.who.hint")}
          type="email"
          autoComplete="off"
          maxLength={254}
          error={unknown ? t("rates.no_user") : undefined}
          value={email}
          onChange={(event) => {
            setEmail(event.target.value);
            setUnknown(false);
          }}
        />
      }
      ask={async (model, prompt_tokens, max_tokens) => {
        const user = email.trim() ? await findUser(email) : null;
        setName(user?.email ?? "");
        if (email.trim() && !user) {
          setUnknown(true);
          return null;
        }
        return rpc.call("budget.check", { model, prompt_tokens, max_tokens, ...(user && { user_id: user.user_id }) });
      }}
    />
  );
}
