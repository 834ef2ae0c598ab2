// Asks for the digit in a picture. usage: node infer.js ADDRESS digit.npy
// It needs the folder proto, which `inferd protos proto` writes, and: npm install @grpc/grpc-js @grpc/proto-loader
const { readFileSync } = require("node:fs");
const grpc = require("@grpc/grpc-js");
const { loadSync } = require("@grpc/proto-loader");

const [address, file] = process.argv.slice(2);
const protos = loadSync("inference/grpc_service.proto", { includeDirs: ["proto"], longs: Number });
const { GRPCInferenceService } = grpc.loadPackageDefinition(protos).inference;
const client = new GRPCInferenceService(address, grpc.credentials.createInsecure());
const request = {
  modelName: "digits",
  inputs: [{ name: "image", datatype: "FP32", shape: [1, 8, 8] }],
  rawInputContents: [readFileSync(file).subarray(-256)], // 64 numbers of 4 bytes, little-endian, behind the file's header
};
client.modelInfer(request, { deadline: Date.now() + 5000 }, (error, response) => {
  if (error) throw error;
  console.log("digit", Number(response.rawOutputContents[0].readBigInt64LE()));
  client.close();
});
