package dev.trivet.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import java.net.URISyntaxException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Files of PyTorch 2.13 (fixtures/torch, goldens/pth_vit_micro), whose values PyTorch also computed or which are numbered, and
 * files put together by hand.
 */
class TorchFileTest {
    @TempDir
    Path folder;

    private static Path resource(String name) {
        try {
            return Path.of(Objects.requireNonNull(TorchFileTest.class.getResource("/" + name))
                    .toURI());
        } catch (URISyntaxException e) {
            throw new IllegalStateException(e);
        }
    }

    private static TorchFile fixture(String name) {
        return TorchFile.open(resource("fixtures/torch/" + name));
    }

    private TorchFile written(HandZip zip) {
        return TorchFile.open(HandBuilt.write(folder.resolve("model.pth"), zip.bytes()));
    }

    private static byte[] floats(float... values) {
        ByteBuffer bytes = ByteBuffer.allocate(4 * values.length).order(ByteOrder.LITTLE_ENDIAN);
        for (float value : values) {
            bytes.putFloat(value);
        }
        return bytes.array();
    }

    private static void check(TorchFile file, String name, DType dtype, long[] shape, float... values) {
        Tensor tensor = file.find(name).orElseThrow();
        assertThat(tensor.name()).isEqualTo(name);
        assertThat(tensor.dtype()).as(name).isEqualTo(dtype);
        assertThat(tensor.shape().stream().mapToLong(d -> d).toArray()).as(name).isEqualTo(shape);
        assertThat(tensor.toFloats()).as(name).isEqualTo(values);
    }

    private static long[] shape(long... dimensions) {
        return dimensions;
    }

    private static double sum(TorchFile file) {
        double sum = 0;
        for (String name : file.names()) {
            for (float value : file.find(name).orElseThrow().toFloats()) {
                sum += value;
            }
        }
        return sum;
    }

    private static float last(TorchFile file, String name) {
        float[] values = file.find(name).orElseThrow().toFloats();
        return values[values.length - 1];
    }

    /** Sums and last elements by PyTorch. */
    @ParameterizedTest
    @CsvSource({
        "state_dict.pth, F32, 232.67063121319018, 0.0034271874465048313, 0.03025364689528942",
        "checkpoint_with_model_key.pth, F32, 232.67063121319018, 0.0034271874465048313, 0.03025364689528942",
        "state_dict_fp16.pth, F16, 232.67126005887985, 0.0034275054931640625, 0.0302581787109375",
        "state_dict_bf16.pth, BF16, 232.67913847306045, 0.0034332275390625, 0.0302734375"
    })
    void microModelsAreRead(String name, DType dtype, double sum, float position, float head) {
        try (TorchFile file = TorchFile.open(resource("goldens/pth_vit_micro/" + name))) {
            assertThat(file.names())
                    .hasSize(32)
                    .startsWith("cls_token", "pos_embed")
                    .endsWith("head.weight", "head.bias");
            Tensor qkv = file.find("blocks.1.attn.qkv.weight").orElseThrow();
            assertThat(qkv.shape()).containsExactly(144L, 48L);
            assertThat(qkv.dtype()).isEqualTo(dtype);
            assertThat(last(file, "pos_embed")).isEqualTo(position);
            assertThat(last(file, "head.weight")).isEqualTo(head);
            assertThat(sum(file)).isEqualTo(sum, org.assertj.core.api.Assertions.within(1e-9));
            assertThat(file.find("head")).isEmpty();
            assertThat(file.fileBytes()).isEqualTo(file.file().toFile().length());
        }
    }

    /** Half precision is the float32 weight rounded, element by element. */
    @Test
    void microModelsAreTheSameModel() {
        try (TorchFile full = TorchFile.open(resource("goldens/pth_vit_micro/state_dict.pth"));
                TorchFile keyed = TorchFile.open(resource("goldens/pth_vit_micro/checkpoint_with_model_key.pth"));
                TorchFile half = TorchFile.open(resource("goldens/pth_vit_micro/state_dict_fp16.pth"))) {
            for (String name : full.names()) {
                float[] values = full.find(name).orElseThrow().toFloats();
                assertThat(keyed.find(name).orElseThrow().toFloats()).isEqualTo(values);
                float[] rounded = half.find(name).orElseThrow().toFloats();
                for (int i = 0; i < values.length; i++) {
                    assertThat(rounded[i]).isEqualTo(Float.float16ToFloat(Float.floatToFloat16(values[i])));
                }
            }
        }
    }

    /** {@code arange(24).reshape(2, 3, 4)} seen in every way, one storage for all. */
    @ParameterizedTest
    @ValueSource(ints = {2, 4, 5})
    void viewsAreMadeRowMajor(int protocol) {
        try (TorchFile file = fixture("views_protocol" + protocol + ".pth")) {
            float[] plain = new float[24];
            float[] transposed = new float[24];
            for (int i = 0; i < 2; i++) {
                for (int j = 0; j < 3; j++) {
                    for (int k = 0; k < 4; k++) {
                        plain[(i * 3 + j) * 4 + k] = (i * 3 + j) * 4 + k;
                        transposed[(k * 2 + i) * 3 + j] = (i * 3 + j) * 4 + k;
                    }
                }
            }
            check(file, "plain", DType.F32, shape(2, 3, 4), plain);
            check(file, "transposed", DType.F32, shape(4, 2, 3), transposed);
            check(file, "slice", DType.F32, shape(2, 2, 2), 4, 6, 8, 10, 16, 18, 20, 22);
            check(file, "row", DType.F32, shape(4), 20, 21, 22, 23);
            check(file, "expanded", DType.F32, shape(2, 3), 5, 5, 5, 6, 6, 6);
            check(file, "scalar", DType.F32, shape(), 7.5f);
            check(file, "empty", DType.F32, shape(0, 3));
            check(file, "odd_strides", DType.F32, shape(1, 3), 2, 3, 4);
            check(file, "half", DType.F16, shape(3, 2), 0, 3, 1, 4, 2, 5);
            check(file, "bf16", DType.BF16, shape(3), 1, 3, 5);
            check(file, "i32", DType.I32, shape(3), 0, 1, 2);
            check(file, "u8", DType.U8, shape(3), 0, 200, 255);
            check(file, "i8", DType.I8, shape(3), -128, 0, 127);
            check(file, "parameter", DType.F32, shape(3), 0, 1, 2);
            check(file, "tagged_parameter", DType.F32, shape(3), 0, 1, 2);
            check(file, "tagged", DType.F32, shape(3), 1, 2, 3);
        }
    }

    @ParameterizedTest
    @CsvSource({"i64, I64", "f64, F64", "bool, BOOL", "u16, U16", "f8, F8_E4M3"})
    void otherElementTypesAreNamedWhenAskedFor(String name, String dtype) {
        try (TorchFile file = fixture("views_protocol2.pth")) {
            assertThat(file.names()).contains(name);
            assertThatThrownBy(() -> file.find(name))
                    .isInstanceOf(BadInputException.class)
                    .hasMessageContaining("tensor " + name + " has element type " + dtype + "; convert it to F32");
        }
    }

    /** A training run's checkpoint: DataParallel, AdamW, argparse, a CfgNode, NumPy scalars, a list in itself. */
    @Test
    void whatStandsBesideTheStateDictIsSkipped() {
        try (TorchFile file = fixture("training.pth")) {
            assertThat(file.names())
                    .containsExactly(
                            "a.weight",
                            "a.bias",
                            "n.weight",
                            "n.bias",
                            "n.running_mean",
                            "n.running_var",
                            "n.num_batches_tracked");
            check(file, "a.weight", DType.F32, shape(3, 2), 0, 1, 2, 3, 4, 5);
            check(file, "a.bias", DType.F32, shape(3), -1, 0.5f, 2);
        }
    }

    @Test
    void checksumsMayBeLeftOut() {
        try (TorchFile file = fixture("no_checksums.pth")) {
            assertThat(last(file, "t")).isEqualTo(23);
        }
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "before_1_6.pth | is a torch.save file of the form before PyTorch 1.6; open it with PyTorch 1.6 or later",
                "torchscript.pt | is a TorchScript program; save the state dict",
                "whole_model.pth | asks for torch.nn.modules.container.Sequential, which no checkpoint of tensors needs"
            })
    void otherFormsAreRefusedWithTheWayOut(String name, String message) {
        assertThatThrownBy(() -> fixture(name))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining(name + ": " + message)
                .hasMessageNotContaining("\n");
    }

    @Test
    void oldestTarFormIsRefused() {
        byte[] tar = new byte[1024];
        System.arraycopy("ustar".getBytes(java.nio.charset.StandardCharsets.US_ASCII), 0, tar, 257, 5);
        Path file = HandBuilt.write(folder.resolve("a.pth"), tar);
        assertThatThrownBy(() -> TorchFile.open(file))
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith(file + ": is a torch.save file of the form before PyTorch 1.6; ");
    }

    @Test
    void handBuiltFilesAreRead() {
        byte[] pickle =
                HandPickle.stateDict("module._orig_mod.b", "module._orig_mod.a").bytes();
        byte[] data = floats(1.5f, -2);
        HandZip wide = HandZip.torch(pickle, data);
        Path path = HandBuilt.write(folder.resolve("wide.pth"), wide.bytes(true, 3));
        try (TorchFile narrow = written(HandZip.torch(pickle, data));
                TorchFile zip64 = TorchFile.open(path)) {
            for (TorchFile file : new TorchFile[] {narrow, zip64}) {
                assertThat(file.names()).containsExactly("b", "a");
                check(file, "a", DType.F32, shape(2), 1.5f, -2);
            }
        }
    }

    @Test
    void prefixesStayWhereNotAllHaveThem() {
        try (TorchFile file =
                written(HandZip.torch(HandPickle.stateDict("module.b", "a").bytes(), floats(1, 2)))) {
            assertThat(file.names()).containsExactly("module.b", "a");
        }
    }

    @Test
    void compressedEntriesAreUnpacked() {
        float[] values = {3, 4};
        HandZip zip = new HandZip()
                .addDeflated("x/data.pkl", HandPickle.stateDict("t").bytes())
                .addDeflated("x/data/0", floats(values));
        try (TorchFile file = written(zip)) {
            check(file, "t", DType.F32, shape(2), values);
            check(file, "t", DType.F32, shape(2), values);
        }
    }

    /** The same choice whatever the order in the file. */
    @Test
    void modelGoesBeforeItsAverage() {
        HandPickle pickle = HandPickle.protocol(2).op('}', '(');
        for (String holder : new String[] {"model_ema", "epoch", "state_dict", "model"}) {
            pickle.text(holder);
            if (holder.equals("epoch")) {
                pickle.number(7);
            } else {
                pickle.op('}')
                        .text("of_" + holder)
                        .tensor("0", 2, 0, new int[] {2}, new int[] {1})
                        .op('s');
            }
        }
        try (TorchFile file = written(HandZip.torch(pickle.op('u').bytes(), floats(1, 2)))) {
            assertThat(file.names()).containsExactly("of_model");
        }
    }

    @Test
    void entryThatIsNoTensorIsNamedWhenAskedFor() {
        HandPickle pickle = HandPickle.stateDict("t")
                .text("head.weight")
                .global("numpy.core.multiarray", "_reconstruct")
                .op(')', 'R', 's')
                .text("count")
                .number(3)
                .op('s');
        try (TorchFile file = written(HandZip.torch(pickle.bytes(), floats(1, 2)))) {
            assertThat(file.names()).containsExactly("t");
            assertThat(file.find("count")).isEmpty();
            assertThatThrownBy(() -> file.find("head.weight"))
                    .isInstanceOf(BadInputException.class)
                    .hasMessageContaining("entry head.weight is numpy.core.multiarray._reconstruct, not a tensor");
        }
    }
}
