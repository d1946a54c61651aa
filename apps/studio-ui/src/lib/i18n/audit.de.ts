import type { auditEn } from "./audit.en";

/** Texte des Prüfprotokolls, deutsch. */
export const auditDe: Record<keyof typeof auditEn, string> = {
  "audit.title": "Prüfprotokoll",
  "audit.lead": "Was mit den Rechten eines Admins getan wurde, und was sich dabei änderte. Jede Zeile trägt den Fingerabdruck der Zeile davor; nichts lässt sich unbemerkt ändern oder entfernen.",
  "audit.action": "Handlungen, die beginnen mit",
  "audit.action.example": "zum Beispiel user. oder budget.",
  "audit.none": "Eine solche Zeile gibt es nicht.",
  "audit.export": "Alles ausgeben",
  "audit.exporting": "{count} Zeilen ...",
  "audit.actor.none": "Kommandozeile",
  "audit.actor.database": "Datenbank ({source})",
  "audit.actor.gone": "ein gelöschtes Konto",
  "audit.key": "mit einem API-Schlüssel",
  "audit.phase.begin": "begonnen",
  "audit.phase.end": "beendet",
  "audit.phase.change": "geändert",
  "audit.phase.seal": "versiegelt",
  "audit.request": "Anfrage {id}",
  "rule.audit.unwritten": "Es wurde nichts getan: das Prüfprotokoll konnte nicht geschrieben werden. Versuchen Sie es gleich noch einmal.",
};
