import { language, languages, setLanguage, useText } from "@/lib/i18n/i18n";
import { useStore } from "@/lib/store";
import { setTheme, theme, themes } from "@/lib/themes/themes";

const option = "rounded-small px-2.5 min-h-7 text-[0.8125rem] font-medium transition-colors aria-checked:bg-selected aria-checked:text-text text-muted hover:text-text";

/** Two small radio groups; arrow keys are not needed, since each option is a tab stop of its own. */
export function ThemeChoice() {
  const { t } = useText();
  const now = useStore(theme);
  return (
    <div role="radiogroup" aria-label={t("app.theme")} className="flex items-center gap-1 rounded-small border border-line bg-panel p-1">
      {themes.map((name) => (
        <button key={name} type="button" role="radio" aria-checked={name === now} title={t(`app.theme.hint.${name}`)} onClick={() => setTheme(name)} className={option}>
          {name}
        </button>
      ))}
    </div>
  );
}

export function LanguageChoice() {
  const { t } = useText();
  const now = useStore(language);
  return (
    <div role="radiogroup" aria-label={t("app.language")} className="flex items-center gap-1 rounded-small border border-line bg-panel p-1">
      {languages.map((code) => (
        <button key={code} type="button" role="radio" aria-checked={code === now} onClick={() => setLanguage(code)} className={option} lang={code}>
          {code === "de" ? "Deutsch" : "English"}
        </button>
      ))}
    </div>
  );
}
