import { useEffect, useState,  } from "react";
import { Button } from "@/components/ui/Button";
import { TextField } from "@/components/ui/Field";
import { Icon, type IconName } from "@/components/ui/Icon";
import { Problem } from "@/components/ui/Problem";
import { useText, type TextKey } from "@/lib/i18n/i18n";
import { navigate } from "@/lib/router";
import { session } from "@/lib/studio";
import { useNewPassword } from "@/lib/useNewPassword";
import { useSubmit } from "@/lib/useSubmit";
import { readAuthState } from "../api/state";
import { linkStateOf, tokenOfFragment, type LinkState } from "../model/setupLink";
import { DeadLink } from "./DeadLink";
import { Frame } from "./Frame";
import { PasswordField } from "./PasswordField";

const abilities: [IconName, TextKey][] = [
  ["code", "auth.setup.can.code"],
  ["play", "auth.setup.can.run"],
  ["chat", "auth.setup.can.chat"],
];

function Abilities() {
  const { t } = useText();
  return (
    <div className="grid gap-3">
      <h2 className="label text-muted">{t("auth.setup.can.title")}</h2>
      <ul className="grid max-w-sm gap-3">
        {abilities.map(([icon, text]) => (
          <li key={text} className="flex gap-3">
            <Icon name={icon} size={20} className="mt-0.5 text-accent-2" />
            {t(text)}
          </li>
        ))}
      </ul>
    </div>
  );
}

function SetupForm({ token, onLink }: { token: string; onLink: (state: LinkState) => void }) {
  const { t } = useText();
  const [email, setEmail] = useState("");
  const [name, setName] = useState("");
  const { password, setPassword, complete, note } = useNewPassword();
  const { working, failure, submit } = useSubmit(
    async () => {
      await session.setup(token, email.trim(), password, name.trim());
      navigate("/code", true);
    },
    (known) => {
      const link = linkStateOf(known);
      if (link) onLink(link);
      return link !== null;
    },
  );
  return (
    <form onSubmit={submit} className="grid gap-5" aria-labelledby="setup-title">
      <div>
        <h1 id="setup-title" className="heading text-2xl">
          {t("auth.setup.title")}
        </h1>
        <p className="text-muted">{t("auth.setup.lead")}</p>
      </div>
      <TextField label={t("auth.email")} type="email" autoComplete="username" required maxLength={254} autoFocus value={email} onChange={(event) => setEmail(event.target.value)} />
      <TextField label={t("auth.name")} autoComplete="name" maxLength={100} hint={t("auth.name.hint")} value={name} onChange={(event) => setName(event.target.value)} />
      <PasswordField autoComplete="new-password" value={password} onChange={setPassword} hint={note} />
      {failure && <Problem failure={failure} compact />}
      <Button look="primary" type="submit" disabled={working || !complete || !email}>
        {t(working ? "auth.setup.working" : "auth.setup.submit")}
      </Button>
    </form>
  );
}

/** /setup#token=...: the fragment never reaches a server, and is taken out of the address bar at once. */
export function SetupPage() {
  const { t } = useText();
  const [token] = useState(() => tokenOfFragment(location.hash));
  const [link, setLink] = useState<LinkState>(token ? "usable" : "invalid");
  const [version, setVersion] = useState<string>();

  useEffect(() => {
    if (location.hash) history.replaceState(null, "", "/setup");
    const stop = new AbortController();
    void readAuthState(stop.signal).then((state) => {
      if (!state) return;
      setVersion(state.version);
      if (!state.setup_needed) setLink("used");
    });
    return () => stop.abort();
  }, []);

  return (
    <Frame
      version={version}
      aside={
        <>
          <Abilities />
          <p className="max-w-sm text-muted">{t("auth.setup.theme")}</p>
        </>
      }
    >
      {link === "usable" && token ? <SetupForm token={token} onLink={setLink} /> : <DeadLink kind="setup" state={link === "usable" ? "invalid" : link} />}
    </Frame>
  );
}
