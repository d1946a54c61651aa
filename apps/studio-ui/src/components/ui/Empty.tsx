import type { ReactNode } from "react";
import { Icon, type IconName } from "./Icon";

/** What belongs here, and the one thing to do next. */
export function Empty({ icon, title, text, children }: { icon: IconName; title: string; text: string; children?: ReactNode }) {
  return (
    <div className="grid h-full place-items-center p-6">
      <div className="rise grid max-w-md justify-items-center gap-3 text-center">
        <span className="grid size-14 place-items-center rounded-base border border-line bg-raised text-accent lit">
          <Icon name={icon} size={26} />
        </span>
        <h2 className="heading text-xl">{title}</h2>
        <p className="text-muted">{text}</p>
        {children}
      </div>
    </div>
  );
}
