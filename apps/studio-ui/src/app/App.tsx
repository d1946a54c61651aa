import { useEffect, useState } from "react";
import { Brand } from "@/components/Brand";
import { InvitePage, isBack, LoginPage, SetupPage } from "@/features/auth";
import { language, useText } from "@/lib/i18n/i18n";
import { navigate, route } from "@/lib/router";
import { useStore } from "@/lib/store";
import { rpc, session } from "@/lib/studio";
import { forgetWorkspace, loadModels, loadProjects, loadUsage } from "@/lib/workspace";
import { areas } from "./areas";
import { Shell } from "./Shell";

const slowAfterMs = 3000;
const modelsEveryMs = 20_000;

/** Who is signed in decides what is shown; the address they wanted is kept while they sign in. */
export function App() {
  const { t } = useText();
  const state = useStore(session.state);
  const here = useStore(route);
  const code = useStore(language);
  const setup = here === "/setup";
  const invite = here === "/invite";

  useEffect(() => {
    document.documentElement.lang = code;
  }, [code]);
  useEffect(() => {
    const area = areas.find((one) => one.route === here);
    document.title = `${area ? t(area.label) : here === "/account" ? t("app.account") : t(setup ? "auth.setup.title" : invite ? "auth.invite.title" : "auth.login.submit")} - CyberDevStudio`;
  }, [here, setup, invite, t]);
  useEffect(() => {
    if (!setup && !invite) void session.resume(isBack(location.search));
    else session.state.set({ status: "signed-out" });
    // Only at page load: later changes of the address ask nothing.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, []);

  const signedIn = state.status === "signed-in";
  useEffect(() => {
    if (signedIn && (here === "/login" || here === "/invite" || location.pathname === "/")) navigate("/code", true);
  }, [signedIn, here]);
  useStudioData(signedIn);

  if (setup && !signedIn) return <SetupPage />;
  if (invite && !signedIn) return <InvitePage />;
  if (state.status === "signed-in") return <Shell user={state.user} />;
  if (state.status === "starting") return <Starting />;
  return <LoginPage />;
}

/** Loads what the shell shows, and looks after the model now and then while the page is in view. */
function useStudioData(signedIn: boolean): void {
  useEffect(() => {
    if (!signedIn) {
      forgetWorkspace();
      return;
    }
    void loadProjects();
    void loadModels();
    void loadUsage();
    const look = () => {
      if (document.visibilityState === "visible" && rpc.state.get() === "open") void loadModels();
    };
    const timer = setInterval(look, modelsEveryMs);
    document.addEventListener("visibilitychange", look);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", look);
    };
  }, [signedIn]);
}

function Starting() {
  const { t } = useText();
  const [slow, setSlow] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setSlow(true), slowAfterMs);
    return () => clearTimeout(timer);
  }, []);
  return (
    <main className="grid h-full place-items-center p-6">
      <div className="grid justify-items-center gap-3">
        <Brand large />
        <p role="status" className="text-muted">
          {t(slow ? "app.slow" : "app.starting")}
        </p>
      </div>
    </main>
  );
}
