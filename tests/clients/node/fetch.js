// REST by fetch, as Node has it: undici, an HTTP/1.1 stack of its own. usage: node fetch.js URL.
// Prints one JSON object, test name -> what came. What is right, the Python test says.

const url = process.argv[2];
const json = { "content-type": "application/json" };
const numbers = (count) => Array.from({ length: count * 16 }, (_, index) => index % 16);
const body = (data, width = 16) => JSON.stringify({ inputs: [{ name: "x", datatype: "FP32", shape: [data.length / width, width], data }] });
const post = (model, options) => fetch(`${url}/v2/models/${model}/infer`, { method: "POST", headers: json, ...options });
const data = async (response) => ({ status: response.status, data: (await response.json()).outputs[0].data });

// The binary extension, by hand: JSON, then the bytes of the tensor; the same way back.
async function binary() {
  const bytes = new Uint8Array(Float32Array.from(numbers(1)).buffer);
  const head = new TextEncoder().encode(
    JSON.stringify({
      inputs: [{ name: "x", datatype: "FP32", shape: [1, 16], parameters: { binary_data_size: 64 } }],
      parameters: { binary_data_output: true },
    }),
  );
  const response = await post("identity", {
    headers: { "inference-header-content-length": String(head.length), "content-type": "application/octet-stream" },
    body: new Blob([head, bytes]),
  });
  const came = await response.arrayBuffer();
  const start = Number(response.headers.get("inference-header-content-length"));
  return {
    status: response.status,
    type: response.headers.get("content-type"),
    data: Array.from(new Float32Array(came.slice(start))),
  };
}

// A body that comes in pieces, of a length that nobody says.
function stream() {
  const text = new TextEncoder().encode(body(numbers(1)));
  const pieces = new ReadableStream({
    start(controller) {
      for (let at = 0; at < text.length; at += 7) controller.enqueue(text.slice(at, at + 7));
      controller.close();
    },
  });
  return post("identity", { body: pieces, duplex: "half" }).then(data);
}

async function compressed() {
  const response = await post("identity", { body: body(numbers(8000)) });
  const [output] = (await response.json()).outputs;
  return { encoding: response.headers.get("content-encoding"), shape: output.shape, last: output.data.at(-1) };
}

async function unknown() {
  const response = await post("nosuch", { body: body(numbers(1)) });
  return { status: response.status, ...(await response.json()) };
}

const many = async (first) => (await data(await post("identity", { body: body(Array(16).fill(first)) }))).data;

// Its connection ends within the request; the next request opens another.
const givenUp = () => post("slow", { body: body(Array(64).fill(1), 64), signal: AbortSignal.timeout(30) }).catch((error) => error.name);

const results = {
  json: await data(await post("identity", { body: body(numbers(1)) })),
  binary: await binary(),
  stream: await stream(),
  compressed: await compressed(),
  unknown: await unknown(),
  many: await Promise.all(Array.from({ length: 200 }, (_, first) => many(first))),
  given_up: await givenUp(),
  after: await data(await post("identity", { body: body(numbers(1)) })),
};
process.stdout.write(JSON.stringify(results));
