// One script of calls by grpc-go, a gRPC and HTTP/2 stack of its own. Messages are made from the repository's descriptors: nothing is
// generated. usage: client ADDRESS DESCRIPTORS [CA_PEM TOKEN]. Prints one JSON object, test name -> what came. What is right, the
// Python test says.
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

const (
	limit     = 30 * time.Second
	inference = "inference.GRPCInferenceService"
	health    = "grpc.health.v1.Health"
)

type object = map[string]any

type client struct {
	connection *grpc.ClientConn
	files      *protoregistry.Files
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func described(path string) *protoregistry.Files {
	content, err := os.ReadFile(path)
	must(err)
	var set descriptorpb.FileDescriptorSet
	must(proto.Unmarshal(content, &set))
	files, err := protodesc.NewFiles(&set)
	must(err)
	return files
}

func (c *client) method(service, name string) protoreflect.MethodDescriptor {
	found, err := c.files.FindDescriptorByName(protoreflect.FullName(service))
	must(err)
	return found.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(name))
}

// The answer of a unary call, or the code and message of its status.
func (c *client) call(ctx context.Context, service, name string, fields object, options ...grpc.CallOption) object {
	method := c.method(service, name)
	request, answer := dynamicpb.NewMessage(method.Input()), dynamicpb.NewMessage(method.Output())
	text, err := json.Marshal(fields)
	must(err)
	must(protojson.Unmarshal(text, request))
	if err := c.connection.Invoke(ctx, "/"+service+"/"+name, request, answer, options...); err != nil {
		return failure(err)
	}
	return plain(answer)
}

func failure(err error) object {
	told := status.Convert(err)
	details := []string{}
	for _, detail := range told.Proto().GetDetails() {
		details = append(details, detail.GetTypeUrl())
	}
	return object{"code": int(told.Code()), "message": told.Message(), "details": details}
}

func plain(message proto.Message) object {
	text, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(message)
	must(err)
	found := object{}
	must(json.Unmarshal(text, &found))
	return found
}

func within(duration time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), duration)
	context.AfterFunc(ctx, cancel)
	return ctx
}

func inferRequest(model string, values []float32) object {
	raw := make([]byte, 4*len(values))
	for i, value := range values {
		binary.LittleEndian.PutUint32(raw[4*i:], math.Float32bits(value))
	}
	return object{
		"model_name":         model,
		"id":                 "from go",
		"inputs":             []object{{"name": "x", "datatype": "FP32", "shape": []int{1, len(values)}}},
		"raw_input_contents": [][]byte{raw},
	}
}

// The values of the first output, or the failure.
func (c *client) infer(ctx context.Context, model string, values []float32, options ...grpc.CallOption) any {
	answer := c.call(ctx, inference, "ModelInfer", inferRequest(model, values), options...)
	if answer["code"] != nil {
		return answer
	}
	var raw []byte
	text, _ := json.Marshal(answer["raw_output_contents"].([]any)[0])
	must(json.Unmarshal(text, &raw))
	found := make([]float32, len(raw)/4)
	for i := range found {
		found[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return found
}

func row(first int) []float32 {
	values := make([]float32, 16)
	for i := range values {
		values[i] = float32(first + i)
	}
	return values
}

func repeated(value float32, count int) []float32 {
	values := make([]float32, count)
	for i := range values {
		values[i] = value
	}
	return values
}

func sum(found any) any {
	values, ok := found.([]float32)
	if !ok {
		return found
	}
	total := float32(0)
	for _, value := range values {
		total += value
	}
	return total
}

func (c *client) many(count int) []any {
	found := make([]any, count)
	var group sync.WaitGroup
	for i := range found {
		group.Add(1)
		go func() {
			defer group.Done()
			found[i] = c.infer(within(limit), "identity", row(i))
		}()
	}
	group.Wait()
	return found
}

// A call that is cancelled while its model runs.
func (c *client) cancelled() any {
	ctx, cancel := context.WithCancel(within(limit))
	time.AfterFunc(20*time.Millisecond, cancel)
	return c.infer(ctx, "slow", repeated(1, 64))
}

// The first message of a stream, which is then cancelled, and how it ended.
func (c *client) watch(service string) object {
	ctx, cancel := context.WithCancel(within(limit))
	method := c.method(health, "Watch")
	stream, err := c.connection.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/"+health+"/Watch")
	must(err)
	request, answer := dynamicpb.NewMessage(method.Input()), dynamicpb.NewMessage(method.Output())
	request.Set(method.Input().Fields().ByName("service"), protoreflect.ValueOfString(service))
	must(stream.SendMsg(request))
	must(stream.CloseSend())
	must(stream.RecvMsg(answer))
	cancel()
	return object{"first": plain(answer), "end": failure(stream.RecvMsg(answer))["code"]}
}

type token string

func (t token) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(t)}, nil
}

func (t token) RequireTransportSecurity() bool { return true }

func dial(address string, files *protoregistry.Files, options ...grpc.DialOption) *client {
	options = append(options, grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, PermitWithoutStream: true}))
	connection, err := grpc.NewClient(address, options...)
	must(err)
	return &client{connection, files}
}

func main() {
	address, files := os.Args[1], described(os.Args[2])
	option := grpc.WithTransportCredentials(insecure.NewCredentials())
	options := []grpc.DialOption{option}
	results := object{}
	if len(os.Args) > 3 {
		secure, err := credentials.NewClientTLSFromFile(os.Args[3], "")
		must(err)
		options = []grpc.DialOption{grpc.WithTransportCredentials(secure)}
		results["without_token"] = dial(address, files, options...).infer(within(limit), "identity", row(1))
		options = append(options, grpc.WithPerRPCCredentials(token(os.Args[4])))
	}
	c := dial(address, files, options...)
	marked := metadata.AppendToOutgoingContext(within(limit), "x-mine", "word", "mine-bin", string([]byte{0, 255}))
	for name, value := range (object{
		"live":           c.call(within(limit), inference, "ServerLive", object{}),
		"metadata":       c.call(within(limit), inference, "ModelMetadata", object{"name": "identity"}),
		"values":         c.infer(marked, "identity", row(1)),
		"many":           c.many(200),
		"large":          sum(c.infer(within(limit), "large", repeated(0.5, 150_000))),
		"gzip":           c.infer(within(limit), "identity", row(3), grpc.UseCompressor("gzip")),
		"large_gzip":     sum(c.infer(within(limit), "large", repeated(0.5, 150_000), grpc.UseCompressor("gzip"))),
		"unknown_model":  c.infer(within(limit), "größe 100% 模型", row(1)),
		"wrong_shape":    c.infer(within(limit), "identity", []float32{1, 2, 3}),
		"unknown_method": c.call(within(limit), inference, "CudaSharedMemoryStatus", object{}),
		"late":           c.infer(within(20*time.Millisecond), "slow", repeated(1, 64)),
		"cancelled":      c.cancelled(),
		"check":          c.call(within(limit), health, "Check", object{"service": "identity"}),
		"check_unknown":  c.call(within(limit), health, "Check", object{"service": "nosuch"}),
		"watch":          c.watch("identity"),
	}) {
		results[name] = value
	}
	must(json.NewEncoder(os.Stdout).Encode(results))
}
