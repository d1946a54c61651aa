import type { ButtonHTMLAttributes } from "react";
import { Icon, type IconName } from "./Icon";

type Look = "primary" | "plain" | "quiet" | "danger";

const looks: Record<Look, string> = {
  primary: "primary border border-transparent",
  plain: "border border-edge bg-raised hover:enabled:border-accent hover:enabled:bg-hover",
  quiet: "border border-transparent text-muted hover:enabled:bg-hover hover:enabled:text-text",
  danger: "border border-danger text-danger hover:enabled:bg-danger hover:enabled:text-bg",
};

export interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  look?: Look;
  icon?: IconName;
  small?: boolean;
  /** The answer that a dialog gives the focus to. */
  "data-first"?: boolean;
}

export function Button({ look = "plain", icon, small = false, className = "", children, type = "button", ...rest }: ButtonProps) {
  const size = small ? "min-h-7 px-2.5 text-[0.8125rem]" : "min-h-9 px-3.5";
  return (
    <button
      type={type}
      className={`inline-flex items-center justify-center gap-2 rounded-small font-medium whitespace-nowrap transition-colors disabled:opacity-55 ${size} ${looks[look]} ${className}`}
      {...rest}
    >
      {icon && <Icon name={icon} size={small ? 14 : 16} />}
      {children}
    </button>
  );
}

/** A button that shows an icon only; its name is for screen readers and the tooltip. */
export function IconButton({ name, icon, className = "", ...rest }: { name: string; icon: IconName } & ButtonHTMLAttributes<HTMLButtonElement>) {
  return (
    <button
      type="button"
      aria-label={name}
      title={name}
      className={`inline-grid size-7 shrink-0 place-items-center rounded-small text-muted transition-colors hover:enabled:bg-hover hover:enabled:text-text disabled:opacity-50 ${className}`}
      {...rest}
    >
      <Icon name={icon} />
    </button>
  );
}
