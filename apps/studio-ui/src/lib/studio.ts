import { RpcClient } from "@/lib/rpc/client";
import { Previews, type PreviewApi, type PreviewTarget } from "@/lib/previews";
import { Session } from "@/lib/session/session";
import { readChoice, writeChoice } from "@/lib/storage";

/** The one session and the one connection of this page, and how they hang together. */

const tabs = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel("cds.session");

export const session = new Session({
  hint: { read: () => readChoice("session") === "1", write: (present) => writeChoice("session", present ? "1" : null) },
  // Web Locks exist on https and loopback only; elsewhere the server's grace for parallel tabs has to do.
  alone: (work) => (navigator.locks ? (navigator.locks.request("cds.refresh", work) as ReturnType<typeof work>) : work()),
  announce: (what) => tabs?.postMessage(what),
  onToken: () => rpc.renew(),
});

export function socketUrl(path: string): string {
  const url = new URL(path, location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

export const rpc = new RpcClient({
  url: socketUrl("/ws"),
  token: (rejected) => session.freshToken(rejected),
  onVoid: () => session.forgetToken(),
  onRole: () => void session.renew(),
});

let signedIn = false;
session.state.subscribe(() => {
  const now = session.state.get().status === "signed-in";
  if (now === signedIn) return;
  signedIn = now;
  if (now) rpc.start();
  else rpc.stop();
});
tabs?.addEventListener("message", (event) => {
  if (event.data === "signed-out" && session.state.get().status === "signed-in") session.ended();
});
window.addEventListener("online", () => rpc.poke());

const previewApi: PreviewApi = {
  ports: async (target) => (await rpc.call("preview.ports", target)).ports,
  open: (params) => rpc.call("preview.open", params),
  close: (project, preview_id) => rpc.call("preview.close", { project, preview_id }),
  list: async (project) => (await rpc.call("preview.list", { project })).previews,
};

/** The ports of a program and their previews, asked over the one connection. */
export const previewsOf = (target: PreviewTarget): Previews => new Previews(previewApi, target);

/** Before somebody signs out here: what this person sees of programs ends with the sign-in. */
export async function closePreviews(projects: readonly string[]): Promise<void> {
  for (const project of projects) {
    const open = await previewApi.list(project).catch(() => []);
    await Promise.allSettled(open.map((one) => previewApi.close(project, one.preview_id)));
  }
}
