import { useId, type InputHTMLAttributes, type ReactNode, type SelectHTMLAttributes, type TextareaHTMLAttributes } from "react";

interface Around {
  label: string;
  hint?: ReactNode;
  error?: string | undefined;
  after?: ReactNode;
}

function Frame({ id, label, hint, error, after, children }: Around & { id: string; children: ReactNode }) {
  return (
    <div className="grid content-start gap-1.5">
      <label htmlFor={id} className="label text-muted">
        {label}
      </label>
      <div className="relative">
        {children}
        {after}
      </div>
      {error ? (
        <p id={`${id}-note`} className="text-[0.8125rem] text-danger">
          {error}
        </p>
      ) : (
        hint && (
          <p id={`${id}-note`} className="text-[0.8125rem] text-muted">
            {hint}
          </p>
        )
      )}
    </div>
  );
}

const noteOf = (id: string, { hint, error }: Around) => (hint || error ? `${id}-note` : undefined);

export function TextField({ label, hint, error, after, className = "", ...rest }: Around & InputHTMLAttributes<HTMLInputElement>) {
  const id = useId();
  const around = { label, hint, error, after };
  return (
    <Frame id={id} {...around}>
      <input id={id} className={`field ${className}`} aria-invalid={error ? true : undefined} aria-describedby={noteOf(id, around)} {...rest} />
    </Frame>
  );
}

export function TextArea({ label, hint, error, className = "", ...rest }: Omit<Around, "after"> & TextareaHTMLAttributes<HTMLTextAreaElement>) {
  const id = useId();
  const around = { label, hint, error };
  return (
    <Frame id={id} {...around}>
      <textarea
        id={id}
        spellCheck={false}
        className={`field block resize-y font-mono text-[0.8125rem] ${className}`}
        aria-invalid={error ? true : undefined}
        aria-describedby={noteOf(id, around)}
        {...rest}
      />
    </Frame>
  );
}

export function SelectField({ label, hint, children, className = "", ...rest }: Omit<Around, "after" | "error"> & SelectHTMLAttributes<HTMLSelectElement>) {
  const id = useId();
  return (
    <Frame id={id} label={label} hint={hint}>
      <select id={id} className={`field ${className}`} aria-describedby={noteOf(id, { label, hint })} {...rest}>
        {children}
      </select>
    </Frame>
  );
}
