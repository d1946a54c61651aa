import { createStore } from "@/lib/store";

/** The page's own addresses; the server answers the same list with the page (apps/studio-ui/server/main.c). */
export const routes = ["/setup", "/login", "/code", "/run", "/terminal", "/chat", "/logs", "/usage", "/account", "/admin", "/invite"] as const;
export type Route = (typeof routes)[number];

const routeOf = (path: string): Route => routes.find((route) => route === path) ?? "/code";

export const route = createStore<Route>(typeof location === "undefined" ? "/code" : routeOf(location.pathname));

export function navigate(to: Route, replace = false): void {
  if (location.pathname !== to) history[replace ? "replaceState" : "pushState"](null, "", to);
  route.set(to);
}

if (typeof window !== "undefined") window.addEventListener("popstate", () => route.set(routeOf(location.pathname)));
