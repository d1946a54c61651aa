import { useState } from "react";
import { Button } from "@/components/ui/Button";
import { Dialog } from "@/components/ui/Dialog";
import { SelectField, TextField } from "@/components/ui/Field";
import { Problem } from "@/components/ui/Problem";
import { useText } from "@/lib/i18n/i18n";
import type { UserInviteResult } from "@/lib/rpc/methods.gen";
import { rpc } from "@/lib/studio";
import { useSubmit } from "@/lib/useSubmit";
import { roles, type Role } from "../model/users";

export function InviteDialog({ onClose, onMade }: { onClose: () => void; onMade: (made: UserInviteResult) => void }) {
  const { t } = useText();
  const [email, setEmail] = useState("");
  const [name, setName] = useState("");
  const [role, setRole] = useState<Role>("developer");
  const { working, failure, submit } = useSubmit(async () => {
    onMade(await rpc.call("user.invite", { email: email.trim(), role, ...(name.trim() && { display_name: name.trim() }) }));
  });
  return (
    <Dialog title={t("admin.invite")} onClose={onClose}>
      <form className="grid gap-4" onSubmit={submit}>
        <TextField label={t("auth.email")} type="email" autoComplete="off" required maxLength={254} value={email} onChange={(event) => setEmail(event.target.value)} />
        <TextField label={t("auth.name")} autoComplete="off" maxLength={100} value={name} onChange={(event) => setName(event.target.value)} />
        <SelectField label={t("account.role")} hint={t(`admin.role.${role}`)} value={role} onChange={(event) => setRole(event.target.value as Role)}>
          {roles.map((one) => (
            <option key={one} value={one}>
              {t(`account.role.${one}`)}
            </option>
          ))}
        </SelectField>
        {failure && <Problem failure={failure} compact />}
        <div className="flex justify-end gap-2">
          <Button onClick={onClose}>{t("common.cancel")}</Button>
          <Button look="primary" type="submit" disabled={working || !email.includes("@")}>
            {t("admin.invite.make")}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
