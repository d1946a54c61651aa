import type { IconName } from "@/components/ui/Icon";
import type { TextKey } from "@/lib/i18n/i18n";
import type { Route } from "@/lib/router";

export interface Area {
  route: Route;
  icon: IconName;
  label: TextKey;
  /** Alt and this digit open it. */
  digit: string;
  /** Not there for anybody else. */
  admin?: true;
}

export const areas: readonly Area[] = [
  { route: "/code", icon: "code", label: "app.tab.code", digit: "1" },
  { route: "/run", icon: "play", label: "app.tab.run", digit: "2" },
  { route: "/terminal", icon: "terminal", label: "app.tab.terminal", digit: "6" },
  { route: "/chat", icon: "chat", label: "app.tab.chat", digit: "3" },
  { route: "/logs", icon: "logs", label: "app.tab.logs", digit: "4" },
  { route: "/usage", icon: "chart", label: "app.tab.usage", digit: "8" },
  { route: "/admin", icon: "shield", label: "app.tab.admin", digit: "7", admin: true },
];

export const areasOf = (role: string): readonly Area[] => areas.filter((area) => !area.admin || role === "admin");
