import { useEffect, useState } from "react";
import { SelectField, TextField } from "@/components/ui/Field";
import { useText } from "@/lib/i18n/i18n";
import { findKeys, type Key } from "../model/find";

interface Props {
  /** "": none is chosen. */
  onChange(key: Key | null): void;
}

/** One of the keys of a user: first the address, then the key by its name. */
export function KeyField({ onChange }: Props) {
  const { t } = useText();
  const [email, setEmail] = useState("");
  const [keys, setKeys] = useState<Key[] | null>(null);
  const [chosen, setChosen] = useState("");
  const [unknown, setUnknown] = useState(false);
  useEffect(() => {
    let wanted = true;
    const found = (list: Key[] | null) => {
      if (!wanted) return;
      setKeys(list);
      setUnknown(list === null);
      setChosen(list?.[0]?.key_id ?? "");
      onChange(list?.[0] ?? null);
    };
    const timer = setTimeout(() => {
      if (email.includes("@")) findKeys(email).then(found, () => found([]));
    }, 300);
    return () => {
      wanted = false;
      clearTimeout(timer);
    };
    // onChange is the caller's setter.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [email]);
  return (
    <div className="grid gap-4 sm:grid-cols-2">
      <TextField
        label={t("auth.email")}
        type="email"
        autoComplete="off"
        required
        maxLength={254}
        error={unknown ? t("rates.no_user") : undefined}
        value={email}
        onChange={(event) => {
          setEmail(event.target.value);
          setKeys(null);
          setUnknown(false);
          onChange(null);
        }}
      />
      <SelectField
        label={t("rates.key")}
        hint={keys?.length === 0 ? t("rates.key.none") : keys ? undefined : t("rates.key.find")}
        disabled={!keys?.length}
        value={chosen}
        onChange={(event) => {
          setChosen(event.target.value);
          onChange(keys?.find((key) => key.key_id === event.target.value) ?? null);
        }}
      >
        {keys?.map((key) => (
          <option key={key.key_id} value={key.key_id}>
            {key.name}
          </option>
        ))}
      </SelectField>
    </div>
  );
}
