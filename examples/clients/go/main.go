// Asks for the digit in a picture. usage: infer ADDRESS digit.npy
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"inferd/inference"
)

func main() {
	connection, err := grpc.NewClient(os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	file, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	response, err := inference.NewGRPCInferenceServiceClient(connection).ModelInfer(ctx, &inference.ModelInferRequest{
		ModelName:        "digits",
		Inputs:           []*inference.ModelInferRequest_InferInputTensor{{Name: "image", Datatype: "FP32", Shape: []int64{1, 8, 8}}},
		RawInputContents: [][]byte{file[len(file)-256:]}, // 64 numbers of 4 bytes, little-endian, behind the file's header
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("digit", binary.LittleEndian.Uint64(response.RawOutputContents[0]))
}
