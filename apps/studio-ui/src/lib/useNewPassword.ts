import { useState } from "react";
import { useText } from "@/lib/i18n/i18n";

/** As the server wants it (auth's rule of passwords). */
const least = 12;

/** A password that is being chosen, what is missing of it, and the sentence below its field. */
export function useNewPassword() {
  const { t } = useText();
  const [password, setPassword] = useState("");
  const missing = least - [...password].length;
  const note = password === "" ? t("auth.password.rule") : missing > 0 ? t("auth.password.left", { count: missing }) : t("auth.password.long");
  return { password, setPassword, complete: missing <= 0, note };
}
