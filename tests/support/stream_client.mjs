// A client of the model server in a process of its own, so that a test can kill it: node stream_client.mjs '<json>' with { url, token, requests: [{ id,
// path, body }] }. All requests run at once. Each line it prints is { id, told, end }: tokens told so far, and the end once it is there: "whole" with
// usage, "error" with its code, "broken" when the connection was cut.
const { url, token, requests } = JSON.parse(process.argv[2]);
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

/** Tokens of one chunk, all choices together (return_tokens). */
const tokensOf = (event) => (event.choices ?? []).reduce((sum, choice) => sum + (choice.tokens?.length ?? 0), 0);

async function run({ id, path, body }) {
  const state = { id, told: 0, end: null };
  try {
    const reply = await fetch(`${url}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}`, 'x-request-id': id },
      body: JSON.stringify(body),
    });
    let text = '';
    for await (const piece of reply.body.pipeThrough(new TextDecoderStream())) {
      text += piece;
      if (!body.stream || reply.status !== 200) continue;
      for (let cut; (cut = text.indexOf('\n\n')) >= 0; text = text.slice(cut + 2)) {
        const line = text.slice(0, cut);
        if (!line.startsWith('data: {')) continue;
        const event = JSON.parse(line.slice(6));
        state.told += tokensOf(event);
        if (event.error) state.end = { how: 'error', code: event.error.code };
        if (event.usage) state.end = { how: 'whole', usage: event.usage, request_id: event.cds.request_id };
        say(state);
      }
    }
    if (!body.stream || reply.status !== 200) {
      const json = JSON.parse(text);
      state.told = json.error ? 0 : tokensOf(json);
      state.end = json.error ? { how: 'error', code: json.error.code } : { how: 'whole', usage: json.usage, request_id: json.cds.request_id };
    }
  } catch (error) {
    state.end ??= { how: 'broken', code: error.cause?.code ?? error.message };
  }
  state.end ??= { how: 'broken', code: 'cut' };
  say(state);
}

await Promise.all(requests.map(run));
