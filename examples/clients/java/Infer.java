// Asks for the digit in a picture. usage: java Infer ADDRESS digit.npy

import com.google.protobuf.ByteString;
import inferd.inference.GRPCInferenceServiceGrpc;
import inferd.inference.ModelInferRequest;
import io.grpc.ManagedChannelBuilder;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;

class Infer {
    public static void main(String[] arguments) throws Exception {
        var channel = ManagedChannelBuilder.forTarget(arguments[0]).usePlaintext().build();
        var file = ByteString.copyFrom(Files.readAllBytes(Path.of(arguments[1])));
        var image = ModelInferRequest.InferInputTensor.newBuilder().setName("image").setDatatype("FP32").addAllShape(List.of(1L, 8L, 8L));
        var request = ModelInferRequest.newBuilder().setModelName("digits").addInputs(image)
            .addRawInputContents(file.substring(file.size() - 256));  // 64 numbers of 4 bytes, little-endian, behind the file's header
        var stub = GRPCInferenceServiceGrpc.newBlockingStub(channel).withDeadlineAfter(5, TimeUnit.SECONDS);
        var label = stub.modelInfer(request.build()).getRawOutputContents(0).asReadOnlyByteBuffer();
        System.out.println("digit " + label.order(ByteOrder.LITTLE_ENDIAN).getLong());
        channel.shutdownNow();
    }
}
