import { TextField } from "@/components/ui/Field";
import { integer } from "@/lib/format";
import { useText } from "@/lib/i18n/i18n";
import { mostOf, rateNames, typedRate, type Rate, type Rates } from "@/lib/rates";

interface Props {
  texts: Record<Rate, string>;
  onChange(texts: Record<Rate, string>): void;
  hint: string;
  /** What an empty field means. */
  none: string;
}

/** The three limits of rate as fields; an empty one is none. */
export function RateFields({ texts, onChange, hint, none }: Props) {
  const { t, locale } = useText();
  return (
    <fieldset className="grid gap-2">
      <legend className="sr-only">{t("rates.title")}</legend>
      <div className="grid gap-4 sm:grid-cols-3">
        {rateNames.map((name) => (
          <TextField
            key={name}
            label={t(`rates.${name}`)}
            inputMode="numeric"
            autoComplete="off"
            placeholder={none}
            maxLength={16}
            error={typedRate(texts[name], name) === undefined ? t("rates.number", { most: integer(mostOf[name], locale) }) : undefined}
            value={texts[name]}
            onChange={(event) => onChange({ ...texts, [name]: event.target.value })}
          />
        ))}
      </div>
      <p className="text-[0.8125rem] text-muted">{hint}</p>
    </fieldset>
  );
}

/** What they say, as one line: "Requests a minute: 60 · Tokens a minute: any number · At the same time: 3". none: what is said where there is none. */
export function RateText({ rates, none }: { rates: Rates; none?: string }) {
  const { t, locale } = useText();
  const facts = rateNames.map((name) => {
    const value = rates[name];
    return `${t(`rates.${name}`)}: ${value === null ? (none ?? t("rates.any")) : integer(value, locale)}`;
  });
  return <>{facts.join(" · ")}</>;
}
