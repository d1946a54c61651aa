import { useState } from "react";
import { Button } from "@/components/ui/Button";
import { Dialog } from "@/components/ui/Dialog";
import { SelectField, TextField } from "@/components/ui/Field";
import { Problem } from "@/components/ui/Problem";
import { useText } from "@/lib/i18n/i18n";
import { useStore } from "@/lib/store";
import { useSubmit } from "@/lib/useSubmit";
import { chooseProject, createProject, mayDevelop, projects } from "@/lib/workspace";

const newValue = "new";

export function ProjectPicker() {
  const { t } = useText();
  const { list, current } = useStore(projects);
  const [asking, setAsking] = useState(false);
  if (!list || !current) return null;
  const onChange = (value: string) => {
    const project = list.find((one) => one.id === value);
    if (project) chooseProject(project);
    else setAsking(true);
  };
  return (
    <>
      <select aria-label={t("app.project")} className="field min-h-8 w-auto max-w-40 min-w-0 py-0.5 sm:max-w-56" value={current.id} onChange={(event) => onChange(event.target.value)}>
        {list.map((project) => (
          <option key={project.id} value={project.id}>
            {project.name}
          </option>
        ))}
        {mayDevelop() && <option value={newValue}>{t("app.project.new")}</option>}
      </select>
      {asking && <NewProject onClose={() => setAsking(false)} />}
    </>
  );
}

function NewProject({ onClose }: { onClose: () => void }) {
  const { t } = useText();
  const [name, setName] = useState("");
  const [template, setTemplate] = useState<"sample" | "empty">("empty");
  const { working, failure, submit } = useSubmit(async () => {
    await createProject({ name: name.trim(), template });
    onClose();
  });
  return (
    <Dialog title={t("app.project.new.title")} onClose={onClose}>
      <form className="grid gap-4" onSubmit={submit}>
        <TextField label={t("app.project.name")} required maxLength={100} value={name} onChange={(event) => setName(event.target.value)} />
        <SelectField label={t("app.project.template")} value={template} onChange={(event) => setTemplate(event.target.value as "sample" | "empty")}>
          <option value="empty">{t("app.project.template.empty")}</option>
          <option value="sample">{t("app.project.template.sample")}</option>
        </SelectField>
        {failure && <Problem failure={failure} compact />}
        <div className="flex justify-end gap-2">
          <Button onClick={onClose}>{t("common.cancel")}</Button>
          <Button look="primary" type="submit" disabled={working || name.trim() === ""}>
            {t("app.project.create")}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
