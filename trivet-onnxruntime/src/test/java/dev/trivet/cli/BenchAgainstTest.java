package dev.trivet.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.List;
import org.junit.jupiter.api.Test;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** {@code bench --against onnxruntime}: the command line with the other engine on the class path. */
class BenchAgainstTest {
    @Test
    void measuresBothEnginesOnTheSameModels() {
        StringWriter out = new StringWriter();
        StringWriter err = new StringWriter();
        String[] arguments = {
            "bench",
            "--random",
            "--architecture",
            "deit_tiny_patch16_32",
            "--against",
            "onnxruntime",
            "--threads",
            "1",
            "--batch",
            "1",
            "--rounds",
            "2",
            "--turn",
            "0.01",
            "--json"
        };
        int exit = TrivetCommand.run(arguments, new PrintWriter(out), new PrintWriter(err));
        assertThat(exit).as(err.toString()).isZero();
        JsonNode json = new JsonMapper().readTree(out.toString());

        List<String> models = List.of("random deit_tiny_patch16_32, float32", "random deit_tiny_patch16_32, W8A8");
        for (String model : models) {
            List<JsonNode> measured = json.path("measurements")
                    .valueStream()
                    .filter(m -> m.path("model").asString().equals(model))
                    .toList();
            assertThat(measured.stream().map(m -> m.path("engine").asString()))
                    .as(model)
                    .contains("trivet")
                    .anyMatch(BenchAgainstTest::isPeer);
            assertThat(measured).allMatch(m -> m.path("images_per_second").asDouble() > 0);
            // Ranges of one image on random weights are coarse; a wrong operator leaves nothing of the signal.
            double floor = model.endsWith("float32") ? 80 : 20;
            assertThat(json.path("agreement").path(model).path("sqnr_db").asDouble())
                    .as(json.path("agreement").toString())
                    .isGreaterThan(floor);
        }
        assertThat(json.path("ratios")
                        .valueStream()
                        .filter(r -> r.path("over").asString().equals("the other engine"))
                        .map(r -> r.path("model").asString()))
                .containsExactlyElementsOf(models);
    }

    private static boolean isPeer(String engine) {
        return engine.startsWith("ONNX Runtime");
    }
}
