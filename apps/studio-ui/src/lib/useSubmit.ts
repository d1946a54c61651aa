import { useState, type FormEvent } from "react";
import { toFailure, type Failure } from "@/lib/failure";

/**
 * A form that is sent, once at a time. What `send` throws is kept to be shown, unless `take` deals with it.
 * `submit` is the form's handler.
 */
export function useSubmit(send: () => Promise<void>, take: (failure: Failure) => boolean = () => false) {
  const [working, setWorking] = useState(false);
  const [failure, setFailure] = useState<Failure | null>(null);
  const run = async () => {
    if (working) return;
    setWorking(true);
    setFailure(null);
    try {
      await send();
    } catch (error) {
      const known = toFailure(error);
      if (!take(known)) setFailure(known);
    }
    setWorking(false);
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    void run();
  };
  return { working, failure, submit };
}
