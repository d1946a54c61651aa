// One request to a model as a client sees it: tokens told so far, and the end.

/** Takes the tokens of one chunk (return_tokens): how many of all choices together, and which choices have begun. */
function take(state, event) {
  for (const { index, tokens } of event.choices ?? []) {
    if (!tokens?.length) continue;
    state.told += tokens.length;
    if (!state.begun.includes(index)) state.begun.push(index);
  }
}

const whole = ({ usage, cds }) => ({ how: 'whole', usage, request_id: cds.request_id, notice: cds.notice ?? null });

/**
 * Sends it and reads its answer to the end, whatever that is; never throws.
 * @param request  { id, path, body }
 * @param say      called with the state at each chunk
 * @param signal   an AbortSignal, when the client may leave
 * @returns { id, told, begun, end }: the tokens told, the choices they are of; end.how is "whole" with usage and notice (why it ended early, or that it is booked
 *          later; null: neither), "error" with its code, "broken" when the connection was cut
 */
export async function ask({ url, token, request: { id, path, body }, say = () => {}, signal }) {
  const state = { id, told: 0, begun: [], end: null };
  try {
    const reply = await fetch(`${url}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}`, 'x-request-id': id },
      body: JSON.stringify(body),
      signal,
    });
    let text = '';
    for await (const piece of reply.body.pipeThrough(new TextDecoderStream())) {
      text += piece;
      if (!body.stream || reply.status !== 200) continue;
      for (let cut; (cut = text.indexOf('\n\n')) >= 0; text = text.slice(cut + 2)) {
        const line = text.slice(0, cut);
        if (!line.startsWith('data: {')) continue;
        const event = JSON.parse(line.slice(6));
        take(state, event);
        if (event.error) state.end = { how: 'error', code: event.error.code };
        if (event.usage) state.end = whole(event);
        say(state);
      }
    }
    if (!body.stream || reply.status !== 200) {
      const json = JSON.parse(text);
      if (!json.error) take(state, json);
      state.end = json.error ? { how: 'error', code: json.error.code } : whole(json);
    }
  } catch (error) {
    state.end ??= { how: 'broken', code: error.cause?.code ?? error.message };
  }
  state.end ??= { how: 'broken', code: 'cut' };
  say(state);
  return state;
}
