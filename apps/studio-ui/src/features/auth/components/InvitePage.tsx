import { useEffect, useState, type FormEvent } from "react";
import { Button } from "@/components/ui/Button";
import { TextField } from "@/components/ui/Field";
import { Icon } from "@/components/ui/Icon";
import { Problem } from "@/components/ui/Problem";
import { toFailure, type Failure } from "@/lib/failure";
import { useText } from "@/lib/i18n/i18n";
import { navigate } from "@/lib/router";
import { session } from "@/lib/studio";
import { linkStateOf, tokenOfFragment, type LinkState } from "../model/setupLink";
import { Frame } from "./Frame";
import { PasswordField } from "./PasswordField";

const least = 12;

interface Link {
  kind: "invite" | "reset";
  email: string;
  display_name: string;
}

function DeadLink({ state }: { state: Exclude<LinkState, "usable"> }) {
  const { t } = useText();
  return (
    <div className="grid gap-4" role="alert">
      <h1 className="heading flex items-center gap-2.5 text-2xl">
        <Icon name="alert" size={24} className="text-warn" />
        {t(`auth.invite.${state}.title`)}
      </h1>
      <p className="text-muted">{t(`auth.invite.${state}.text`)}</p>
      <Button look={state === "used" ? "primary" : "plain"} onClick={() => navigate("/login")} className="justify-self-start">
        {t("auth.setup.login")}
      </Button>
    </div>
  );
}

function LinkForm({ token, link, onState }: { token: string; link: Link; onState: (state: LinkState) => void }) {
  const { t } = useText();
  const [name, setName] = useState(link.display_name);
  const [password, setPassword] = useState("");
  const [working, setWorking] = useState(false);
  const [failure, setFailure] = useState<Failure | null>(null);
  const missing = least - [...password].length;
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (working) return;
    setWorking(true);
    setFailure(null);
    try {
      await session.redeem(token, password, name.trim());
      navigate("/code", true);
    } catch (error) {
      const known = toFailure(error);
      const state = linkStateOf(known);
      if (state) onState(state);
      else setFailure(known);
      setWorking(false);
    }
  };
  const note = password === "" ? t("auth.password.rule") : missing > 0 ? t("auth.password.left", { count: missing }) : t("auth.password.long");
  return (
    <form onSubmit={(event) => void submit(event)} className="grid gap-5" aria-labelledby="invite-title">
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
      <Button look="primary" type="submit" disabled={working || missing > 0}>
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
      {state !== "usable" && <DeadLink state={state} />}
      {failure && <Problem failure={failure} />}
      {state === "usable" && token && link && <LinkForm token={token} link={link} onState={setState} />}
      {state === "usable" && !link && !failure && <p className="text-muted">{t("common.loading")}</p>}
    </Frame>
  );
}
