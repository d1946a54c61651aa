import { useState } from "react";
import { IconButton } from "@/components/ui/Button";
import { TextField } from "@/components/ui/Field";
import { useText } from "@/lib/i18n/i18n";

interface Props {
  value: string;
  /** Instead of "Password". */
  label?: string;
  onChange(value: string): void;
  autoComplete: "current-password" | "new-password";
  hint?: string | undefined;
  error?: string | undefined;
}

/** A password that can be shown and pasted. */
export function PasswordField({ value, label, onChange, autoComplete, hint, error }: Props) {
  const { t } = useText();
  const [shown, setShown] = useState(false);
  return (
    <TextField
      label={label ?? t("auth.password")}
      type={shown ? "text" : "password"}
      autoComplete={autoComplete}
      required
      maxLength={1024}
      value={value}
      hint={hint}
      error={error}
      className="pr-11"
      onChange={(event) => onChange(event.target.value)}
      after={
        <IconButton
          name={t(shown ? "auth.password.hide" : "auth.password.show")}
          icon={shown ? "eyeOff" : "eye"}
          aria-pressed={shown}
          className="absolute top-1 right-1"
          onClick={() => setShown(!shown)}
        />
      }
    />
  );
}
