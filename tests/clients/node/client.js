// One script of calls by @grpc/grpc-js, a gRPC and HTTP/2 stack of its own, over the .proto files of this repository.
// usage: node client.js ADDRESS PROTO_FOLDER. Prints one JSON object, test name -> what came. What is right, the Python test says.

import path from "node:path";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const [address, folder] = process.argv.slice(2);
const files = [
  "inference/grpc_service.proto",
  "grpc/health/v1/health.proto",
  "grpc/reflection/v1/reflection.proto",
];
const definition = loader.loadSync(files.map((file) => path.join(folder, file)), {
  includeDirs: [folder],
  keepCase: true,
  longs: Number,
  enums: String,
  defaults: true,
});
const api = grpc.loadPackageDefinition(definition);
const credentials = grpc.credentials.createInsecure();
const inference = new api.inference.GRPCInferenceService(address, credentials);
const health = new api.grpc.health.v1.Health(address, credentials);
const reflection = new api.grpc.reflection.v1.ServerReflection(address, credentials);

const deadline = (milliseconds) => ({ deadline: Date.now() + milliseconds });

// The answer of a unary call, or {code, message} of its status.
function unary(client, method, request, options = deadline(30_000), metadata = new grpc.Metadata()) {
  return new Promise((resolve) => {
    client[method](request, metadata, options, (error, answer) =>
      resolve(error ? { code: error.code, message: error.details } : answer),
    );
  });
}

function inferRequest(model, values, name = "x") {
  const raw = Buffer.alloc(4 * values.length);
  values.forEach((value, index) => raw.writeFloatLE(value, 4 * index));
  return {
    model_name: model,
    id: "from node",
    inputs: [{ name, datatype: "FP32", shape: [1, values.length] }],
    raw_input_contents: [raw],
  };
}

function floats(answer) {
  if (answer.code !== undefined) return answer;
  const raw = answer.raw_output_contents[0];
  return Array.from({ length: raw.length / 4 }, (_, index) => raw.readFloatLE(4 * index));
}

const row = (first) => Array.from({ length: 16 }, (_, index) => first + index);

// The first `count` messages of a server's stream, then it is cancelled.
function firstOf(stream, count) {
  return new Promise((resolve) => {
    const found = [];
    stream.on("data", (message) => {
      found.push(message);
      if (found.length === count) stream.cancel();
    });
    stream.on("error", (error) => resolve({ found, code: error.code }));
    stream.on("end", () => resolve({ found, code: 0 }));
  });
}

async function reflected() {
  const stream = reflection.ServerReflectionInfo(deadline(30_000));
  const answers = new Promise((resolve, reject) => {
    const found = [];
    stream.on("data", (message) => found.push(message));
    stream.on("error", reject);
    stream.on("end", () => resolve(found));
  });
  stream.write({ list_services: "" });
  stream.write({ file_containing_symbol: "inference.GRPCInferenceService" });
  stream.write({ file_containing_symbol: "no.such.Symbol" });
  stream.end();
  const [services, file, unknown] = await answers;
  return {
    services: services.list_services_response.service.map((service) => service.name),
    file_bytes: file.file_descriptor_response.file_descriptor_proto.map((content) => content.length),
    unknown: unknown.error_response.error_code,
    values: await callByReflection(file.file_descriptor_response.file_descriptor_proto),
  };
}

// A call by a client that knows nothing but what reflection told it: the files as a FileDescriptorSet, field 1 each.
async function callByReflection(contents) {
  const set = Buffer.concat(contents.flatMap((content) => [Buffer.from([0x0a]), varint(content.length), content]));
  const described = grpc.loadPackageDefinition(loader.loadFileDescriptorSetFromBuffer(set, { keepCase: true, longs: Number }));
  const client = new described.inference.GRPCInferenceService(address, credentials);
  const answer = await unary(client, "ModelInfer", inferRequest("identity", row(9)));
  client.close();
  return floats(answer);
}

function varint(value) {
  const bytes = [];
  for (; value > 0x7f; value >>>= 7) bytes.push((value & 0x7f) | 0x80);
  return Buffer.from([...bytes, value]);
}

// Requests that are compressed, small and large, and answers that may be: grpc-js takes gzip and deflate unasked.
async function compressed() {
  const found = {};
  for (const [name, algorithm] of [["deflate", 1], ["gzip", 2]]) {
    const client = new api.inference.GRPCInferenceService(address, credentials, { "grpc.default_compression_algorithm": algorithm });
    const large = floats(await unary(client, "ModelInfer", inferRequest("large", Array.from({ length: 150_000 }, (_, index) => index % 100))));
    found[name] = [
      floats(await unary(client, "ModelInfer", inferRequest("identity", row(3)))),
      large.every((value, index) => value === 2 * (index % 100)) && large.length,
    ];
    client.close();
  }
  return found;
}

const typed = {
  model_name: "identity",
  inputs: [{ name: "x", datatype: "FP32", shape: [1, 16], contents: { fp32_contents: row(7) } }],
};
const metadata = new grpc.Metadata();
metadata.set("x-mine", "word");
metadata.set("mine-bin", Buffer.from([0, 255]));

const results = {
  live: await unary(inference, "ServerLive", {}),
  metadata: await unary(inference, "ModelMetadata", { name: "identity" }),
  answer: await unary(inference, "ModelInfer", inferRequest("identity", row(1)), deadline(30_000), metadata),
  values: floats(await unary(inference, "ModelInfer", inferRequest("identity", row(1)))),
  typed: floats(await unary(inference, "ModelInfer", typed)),
  unknown_model: await unary(inference, "ModelInfer", inferRequest("größe 100% 模型", row(1))),
  wrong_shape: await unary(inference, "ModelInfer", inferRequest("identity", [1, 2, 3])),
  unknown_method: await unary(inference, "CudaSharedMemoryStatus", {}),
  late: await unary(inference, "ModelInfer", inferRequest("slow", Array(64).fill(1)), deadline(20)),
  large: floats(await unary(inference, "ModelInfer", inferRequest("large", Array(150_000).fill(0.5)))).reduce((sum, value) => sum + value, 0),
  many: (await Promise.all(Array.from({ length: 200 }, (_, first) => unary(inference, "ModelInfer", inferRequest("identity", row(first)))))).map(floats),
  compressed: await compressed(),
  check: await unary(health, "Check", { service: "identity" }),
  check_unknown: await unary(health, "Check", { service: "nosuch" }),
  watch: await firstOf(health.Watch({ service: "identity" }, deadline(30_000)), 1),
  reflection: await reflected(),
};
delete results.answer.raw_output_contents;
process.stdout.write(JSON.stringify(results));
for (const client of [inference, health, reflection]) client.close();
