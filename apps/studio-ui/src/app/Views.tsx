import { useEffect, useState } from "react";
import { Problem } from "@/components/ui/Problem";
import { AccountPage } from "@/features/account";
import { AdminPage } from "@/features/admin";
import { ChatPage } from "@/features/chat";
import { CodePage } from "@/features/editor";
import { LogsPage } from "@/features/logs";
import { runFile, RunPage, useRunPanel } from "@/features/run";
import { TerminalPage } from "@/features/terminal";
import { UsagePage } from "@/features/usage";
import { useText } from "@/lib/i18n/i18n";
import { route } from "@/lib/router";
import type { User } from "@/lib/session/session";
import { useStore } from "@/lib/store";
import { loadProjects, projects } from "@/lib/workspace";
import { codeActions, signOutFailure } from "./actions";
import { Boundary } from "./Boundary";

/** The page of the present address. Code stays mounted once it was seen: coming back finds cursor and scroll as they were. */
export function Views({ user, signOut }: { user: User; signOut: () => void }) {
  const here = useStore(route);
  const failure = useStore(signOutFailure);
  const [seen, setSeen] = useState(false);
  useEffect(() => {
    if (here === "/code") setSeen(true);
  }, [here]);
  return (
    <>
      {(seen || here === "/code") && (
        <div hidden={here !== "/code"} className="h-full">
          <Boundary>
            <Code />
          </Boundary>
        </div>
      )}
      <Boundary key={here}>
        {here === "/run" && <Run />}
        {here === "/terminal" && <Terminal />}
        {here === "/chat" && <ChatPage />}
        {here === "/logs" && <LogsPage admin={user.role === "admin"} />}
        {here === "/usage" && <UsagePage admin={user.role === "admin"} />}
        {here === "/admin" && user.role === "admin" && <AdminPage self={user.id} />}
        {here === "/account" && <AccountPage user={user} signOut={signOut} failure={failure} />}
      </Boundary>
    </>
  );
}

function NoProject() {
  const { t } = useText();
  const { failure } = useStore(projects);
  return (
    <div className="grid h-full place-items-center p-6">
      {failure ? <Problem failure={failure} onRetry={() => void loadProjects()} /> : <p className="text-muted">{t("common.loading")}</p>}
    </div>
  );
}

const bindCode = (actions: typeof codeActions) => {
  Object.assign(codeActions, actions);
};

function Code() {
  const { current } = useStore(projects);
  const { panel, running } = useRunPanel();
  if (!current) return <NoProject />;
  return (
    <CodePage
      key={current.id}
      project={current.id}
      running={running}
      panel={panel}
      onRun={(path, language) => runFile(current.id, path, language)}
      bind={bindCode}
    />
  );
}

function Terminal() {
  const { current } = useStore(projects);
  return current ? <TerminalPage key={current.id} project={current.id} /> : <NoProject />;
}

function Run() {
  const { current } = useStore(projects);
  return current ? <RunPage project={current.id} /> : <NoProject />;
}
