import { useEffect, useState } from "react";
import { Button } from "@/components/ui/Button";
import { TextField } from "@/components/ui/Field";
import { Problem } from "@/components/ui/Problem";
import { toFailure, type Failure } from "@/lib/failure";
import { useText } from "@/lib/i18n/i18n";
import { navigate } from "@/lib/router";
import { session } from "@/lib/studio";
import { useNewPassword } from "@/lib/useNewPassword";
import { useSubmit } from "@/lib/useSubmit";
import { linkStateOf, tokenOfFragment, type LinkState } from "../model/setupLink";
import { DeadLink } from "./DeadLink";
import { Frame } from "./Frame";
import { PasswordField } from "./PasswordField";

interface Link {
  kind: "invite" | "reset";
  email: string;
  display_name: string;
}

function LinkForm({ token, link, onState }: { token: string; link: Link; onState: (state: LinkState) => void }) {
  const { t } = useText();
  const [name, setName] = useState(link.display_name);
  const { password, setPassword, complete, note } = useNewPassword();
  const { working, failure, submit } = useSubmit(
    async () => {
      await session.redeem(token, password, name.trim());
      navigate("/code", true);
    },
    (known) => {
      const state = linkStateOf(known);
      if (state) onState(state);
      return state !== null;
    },
  );
  return (
    <form onSubmit={submit} className="grid gap-5" aria-labelledby="invite-title">
      <div>
        <h1 id="invite-title" className="heading text-2xl">
          {t(`auth.invite.${link.kind}.title`)}
        </h1>
        <p className="text-muted">{t(`auth.invite.${link.kind}.lead`)}</p>
      </div>
      <TextField label={t("auth.email")} type="email" autoComplete="username" readOnly value={link.email} />
      {link.kind === "invite" && (
        <TextField label={t("auth.name")} autoComplete="name" maxLength={100} hint={t("auth.name.hint")} value={name} onChange={(event) => setName(event.target.value)} />
      )}
      <PasswordField autoComplete="new-password" label={t("account.password.new")} value={password} onChange={setPassword} hint={note} />
      {failure && <Problem failure={failure} compact />}
      <Button look="primary" type="submit" disabled={working || !complete}>
        {t(working ? "auth.invite.working" : "auth.invite.submit")}
      </Button>
    </form>
  );
}

/** /invite#token=...: the fragment never reaches a server, and is taken out of the address bar at once. */
export function InvitePage() {
  const { t } = useText();
  const [token] = useState(() => tokenOfFragment(location.hash));
  const [state, setState] = useState<LinkState>(token ? "usable" : "invalid");
  const [link, setLink] = useState<Link | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);
  useEffect(() => {
    if (location.hash) history.replaceState(null, "", "/invite");
    if (!token) return;
    session.lookAtLink(token).then(
      (found) => setLink(found as Link),
      (error: unknown) => {
        const known = toFailure(error);
        const dead = linkStateOf(known);
        if (dead) setState(dead);
        else setFailure(known);
      },
    );
  }, [token]);
  return (
    <Frame>
      {state !== "usable" && <DeadLink kind="invite" state={state} />}
      {failure && <Problem failure={failure} />}
      {state === "usable" && token && link && <LinkForm token={token} link={link} onState={setState} />}
      {state === "usable" && !link && !failure && <p className="text-muted">{t("common.loading")}</p>}
    </Frame>
  );
}
