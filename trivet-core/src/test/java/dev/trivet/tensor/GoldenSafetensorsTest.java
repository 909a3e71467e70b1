package dev.trivet.tensor;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.URISyntaxException;
import java.net.URL;
import java.nio.file.Path;
import java.util.Objects;
import org.junit.jupiter.api.Test;

/** Files that other software wrote; names, shapes and first elements were decoded from the bytes by a separate script. */
class GoldenSafetensorsTest {
    private static SafetensorsFile open(String name) throws URISyntaxException {
        URL resource = Objects.requireNonNull(GoldenSafetensorsTest.class.getResource("/goldens/" + name));
        return SafetensorsFile.open(Path.of(resource.toURI()));
    }

    private static void check(SafetensorsFile file, String name, float first, long... shape) {
        Tensor tensor = file.find(name).orElseThrow();
        assertThat(tensor.name()).isEqualTo(name);
        assertThat(tensor.dtype()).isEqualTo(DType.F32);
        assertThat(tensor.shape().stream().mapToLong(d -> d))
                .containsExactly(java.util.Arrays.stream(shape).boxed().toArray(Long[]::new));
        assertThat(tensor.toFloats()[0]).isEqualTo(first);
    }

    @Test
    void vitMicro() throws URISyntaxException {
        try (SafetensorsFile file = open("vit_micro/model.safetensors")) {
            assertThat(file.names())
                    .hasSize(44)
                    .startsWith("blocks.0.attn.proj.bias")
                    .endsWith("pos_embed");
            assertThat(file.metadata()).isEmpty();
            assertThat(file.dataBytes()).isEqualTo(804392);
            check(file, "cls_token", 0.09935246f, 1, 1, 64);
            check(file, "pos_embed", 0.017381763f, 1, 17, 64);
            check(file, "patch_embed.proj.weight", 0.16039197f, 64, 3, 16, 16);
            check(file, "blocks.1.attn.qkv.weight", -0.08003792f, 192, 64);
            check(file, "blocks.2.mlp.fc2.weight", -0.02688635f, 64, 256);
            check(file, "head.bias", -0.17503421f, 10);
        }
        try (SafetensorsFile file = open("vit_micro/golden.safetensors")) {
            check(file, "input", -0.025078068f, 2, 3, 64, 64);
            check(file, "output", -0.24448662f, 2, 10);
        }
    }

    @Test
    void deitDistilledMicro() throws URISyntaxException {
        try (SafetensorsFile file = open("deit_distilled_micro/model.safetensors")) {
            check(file, "dist_token", -0.012453686f, 1, 1, 48);
            check(file, "head_dist.weight", -0.09358504f, 10, 48);
            check(file, "pos_embed", 0.027405689f, 1, 18, 48);
        }
        try (SafetensorsFile file = open("deit_distilled_micro/golden.safetensors")) {
            check(file, "act.norm", 0.375522f, 2, 18, 48);
            check(file, "output", 0.22263245f, 2, 10);
        }
    }

    @Test
    void vitGapMicro() throws URISyntaxException {
        try (SafetensorsFile file = open("vit_gap_micro/model.safetensors")) {
            check(file, "fc_norm.weight", 0.9545555f, 32);
            check(file, "pos_embed", -0.027600871f, 1, 36, 32);
            assertThat(file.find("cls_token")).isEmpty();
        }
        try (SafetensorsFile file = open("vit_gap_micro/golden.safetensors")) {
            check(file, "output", -0.21050751f, 2, 7);
        }
    }
}
