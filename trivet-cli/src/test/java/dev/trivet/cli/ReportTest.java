package dev.trivet.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.cli.report.HtmlReport;
import dev.trivet.cli.report.ReportInput;
import dev.trivet.format.ModelFile;
import dev.trivet.format.Provenance;
import dev.trivet.format.QuantizedModelFile;
import dev.trivet.kernel.VectorKernels;
import dev.trivet.model.ModelConfig;
import dev.trivet.model.VitModel;
import java.io.StringReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import javax.xml.parsers.DocumentBuilderFactory;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.w3c.dom.Document;
import org.w3c.dom.Element;
import org.w3c.dom.NodeList;
import org.xml.sax.InputSource;

/** The page of {@code trivet report}. */
class ReportTest {
    private static final Path FLOAT = Fixtures.golden(Fixtures.VIT);
    private static final String HOSTILE = "m</title><script>alert('1')</script>&\"\u202e";
    private static final String REPORT = """
            {"method": "trivet", "target_bytes": 3000000,
             "operators": [{"operator": "blocks.0.attn.qkv", "choice": "folded <i>levels</i>", "held_out_error": 0.0125,
               "tried": [{"description": "uniform", "error": 0.5}]}, 7],
             "sensitivity": [{"module": "blocks.0.attn", "options": [{"bits": 4, "bytes": 10, "omega": 0.75}, {"bits": 6, "bytes": 20, "omega": 0.25}],
               "chosen_bits": 6, "reason": "loses most <script>"}, {}],
             "frontier": [{"bytes": 2000000, "omega": 8, "bits": {}}, {"bytes": 4000000, "omega": 2, "bits": {}}, {"bytes": "x"}]}
            """;

    @TempDir
    Path temp;

    private Path quantized() {
        Path calibration = Fixtures.imageFolder(temp.resolve("calibration"), 3, 2);
        Path output = temp.resolve("q.safetensors");
        CommandRun.of("quantize", FLOAT, "--calibration", calibration, "--images", 4, "-o", output)
                .good();
        return output;
    }

    /** The same model with other names and documents. */
    private Path renamed(Path quantized, Optional<String> report) {
        ModelFile file = ModelFile.read(quantized, Optional.empty());
        ModelConfig c = file.model().config();
        VitModel model = new VitModel(
                new ModelConfig(HOSTILE, c.geometry(), c.preprocessing(), c.labels()),
                file.model().linears(),
                file.model().matmuls(),
                file.model().floats());
        Map<String, String> facts = Map.of("tool", "<b>tool</b>", "seed", "0", "calibration_images", "4");
        Path renamed = temp.resolve("renamed.safetensors");
        QuantizedModelFile.write(renamed, model, new Provenance(facts, Optional.of("{\"bits\": \"</pre>\"}"), report));
        return renamed;
    }

    private String page(Path quantized, Object... further) throws Exception {
        Path output = temp.resolve("page.html");
        List<Object> words = new ArrayList<>(List.of(
                "report", quantized, "--against", FLOAT, "--calibration", temp.resolve("calibration"), "-o", output));
        words.addAll(List.of(further));
        CommandRun.of(words.toArray()).good();
        return Files.readString(output);
    }

    /** The page is XML as well, so an XML parser finds what is left open. */
    private static Document parsed(String page) throws Exception {
        return DocumentBuilderFactory.newInstance().newDocumentBuilder().parse(new InputSource(new StringReader(page)));
    }

    private static List<String> texts(Document page, String tag) {
        List<String> texts = new ArrayList<>();
        NodeList found = page.getElementsByTagName(tag);
        for (int i = 0; i < found.getLength(); i++) {
            texts.add(found.item(i).getTextContent());
        }
        return texts;
    }

    @Test
    void everyOperatorIsShown() throws Exception {
        Path quantized = quantized();
        Document page = parsed(page(quantized));
        List<String> operators = new ArrayList<>(List.of("patch_embed.proj", "head"));
        for (int b = 0; b < 3; b++) {
            for (String name : List.of("attn.qkv", "attn.qk", "attn.av", "attn.proj", "mlp.fc1", "mlp.fc2")) {
                operators.add("blocks." + b + "." + name);
            }
        }
        assertThat(texts(page, "h3")).containsAll(operators);
        // Weights and input of 14 linear layers, two operands of six products, and the chart of the modules.
        assertThat(page.getElementsByTagName("svg").getLength()).isEqualTo(14 * 2 + 6 * 2 + 1);
        // The image, and two maps for each of three blocks.
        assertThat(page.getElementsByTagName("img").getLength()).isEqualTo(1 + 2 * 3);
        assertThat(texts(page, "h2"))
                .containsExactly(
                        "Summary", "Worst modules", "Bits over depth", "Attention maps", "Histograms", "Origin");
        for (String tag : List.of("svg", "img")) {
            NodeList drawings = page.getElementsByTagName(tag);
            for (int i = 0; i < drawings.getLength(); i++) {
                Element drawing = (Element) drawings.item(i);
                assertThat(
                                tag.equals("img")
                                        ? drawing.getAttribute("alt")
                                        : drawing.getElementsByTagName("title")
                                                .item(0)
                                                .getTextContent())
                        .isNotBlank();
            }
        }
    }

    @Test
    void nothingIsLoadedOrRun() throws Exception {
        String page = page(renamed(quantized(), Optional.of(REPORT)));
        assertThat(page.replace("http-equiv", ""))
                .doesNotContain("http", "<script", "<link", "@import", "url(", "onload");
        Document parsed = parsed(page);
        for (String tag : List.of("img", "a")) {
            NodeList found = parsed.getElementsByTagName(tag);
            for (int i = 0; i < found.getLength(); i++) {
                Element e = (Element) found.item(i);
                assertThat(e.getAttribute("src") + e.getAttribute("href")).matches("data:image/png;base64,.*|#[a-z]+");
            }
        }
        // A tenth of what a page about DeiT-Tiny may weigh.
        assertThat(page.length()).isLessThan(600_000);
    }

    @Test
    void namesFromFilesAreText() throws Exception {
        Document page = parsed(page(renamed(quantized(), Optional.of(REPORT))));
        assertThat(texts(page, "h1")).containsExactly(HOSTILE.replace('\u202e', ' '));
        assertThat(page.getElementsByTagName("script").getLength()).isZero();
        assertThat(page.getElementsByTagName("b").getLength()).isZero();
        assertThat(texts(page, "td")).contains("<b>tool</b>", "loses most <script>");
    }

    @Test
    void whatTheSearchFoundIsShown() throws Exception {
        Document page = parsed(page(renamed(quantized(), Optional.of(REPORT))));
        assertThat(texts(page, "h2")).contains("Sensitivity and frontier");
        assertThat(texts(page, "p")).contains("Chosen: folded <i>levels</i>, held-out error 0.01250");
        assertThat(texts(page, "li")).containsExactly("uniform: 0.5000");
        assertThat(texts(page, "td")).contains("0.7500", "0.2500", "2000000", "4000000");
        assertThat(page.getElementsByTagName("circle").getLength()).isEqualTo(2);
        assertThat(texts(page, "pre")).anySatisfy(text -> assertThat(text).contains("</pre>"));
    }

    /** A line that would make another file is worse than none. */
    @Test
    void saysHowToMakeTheFileOnlyIfItKnows() throws Exception {
        Path calibration = Fixtures.imageFolder(temp.resolve("calibration"), 3, 2);
        Path output = temp.resolve("q.safetensors");
        List<Object> words =
                new ArrayList<>(List.of("quantize", FLOAT, "--calibration", calibration, "--images", 4, "-o", output));
        words.addAll(List.of("--method", "liu2021", "--bits", 6));
        CommandRun.of(words.toArray()).good();
        assertThat(texts(parsed(page(output)), "pre").getFirst())
                .contains("trivet quantize ", " --method liu2021 --bits 6 ");
        words.addAll(List.of("--rounds", 0));
        CommandRun.of(words.toArray()).good();
        assertThat(texts(parsed(page(output)), "pre").getFirst())
                .doesNotContain("trivet quantize ")
                .contains("trivet report ");
    }

    /** The same figures as {@code compare} gives, and commands that can be copied. */
    @Test
    void figuresAreMeasured() throws Exception {
        Path quantized = quantized();
        Path data = Fixtures.imageFolder(temp.resolve("some data"), 10, 2);
        var json = CommandRun.of("compare", FLOAT, quantized, "--data", data, "--json")
                .good()
                .json();
        String page = page(quantized, "--data", data);
        assertThat(texts(parsed(page), "p"))
                .contains(
                        "Top-1",
                        String.format(
                                Locale.ROOT,
                                "%.2f %%",
                                100 * json.path("b").path("top1").asDouble()),
                        String.format(
                                Locale.ROOT,
                                "%.2f %%",
                                100 * json.path("agreement").asDouble()));
        assertThat(texts(parsed(page), "pre").getFirst())
                .contains(
                        "trivet quantize ",
                        " --method trivet --bits 8 ",
                        " --images 4 --seed 0 ",
                        "trivet report ",
                        "--data '" + data + "'");
        assertThat(page).doesNotContain("this is not accuracy");
        assertThat(page(quantized)).contains("no labels were given, so this is not accuracy");
    }

    @Test
    void thePageIsTheSameEachTimeAndInEveryLocale() throws Exception {
        Path quantized = quantized();
        String first = page(quantized);
        Locale before = Locale.getDefault();
        try {
            Locale.setDefault(Locale.GERMANY);
            assertThat(page(quantized)).isEqualTo(first);
        } finally {
            Locale.setDefault(before);
        }
    }

    @Test
    void otherModelsThanWeAskFor() {
        Path quantized = quantized();
        Path calibration = temp.resolve("calibration");
        CommandRun.of("report", FLOAT, "--against", FLOAT, "--calibration", calibration, "-o", temp.resolve("p.html"))
                .refused(FLOAT, "is not quantized");
        Path other = Fixtures.golden("vit_gap_micro");
        CommandRun.of(
                        "report",
                        quantized,
                        "--against",
                        other,
                        "--calibration",
                        calibration,
                        "-o",
                        temp.resolve("p.html"))
                .refused(other, "is not what ");
        CommandRun.of(
                        "report",
                        quantized,
                        "--against",
                        quantized,
                        "--calibration",
                        calibration,
                        "-o",
                        temp.resolve("p.html"))
                .refused(quantized, "is quantized, too", "give the float model");
    }

    @Test
    void fromJava() throws Exception {
        Path quantized = quantized();
        ModelFile original = ModelFile.read(FLOAT, Optional.empty());
        CalibrationSample sample = CalibrationSample.draw(
                temp.resolve("calibration"), 2, 0, original.model().config().preprocessing(), true);
        Path page = temp.resolve("deep/page.html");
        HtmlReport.write(
                page,
                new ReportInput(
                        original,
                        ModelFile.read(quantized, Optional.empty()),
                        sample,
                        Optional.empty(),
                        List.of("a 'b'")),
                new VectorKernels(),
                1,
                (stage, done, total) -> assertThat(done).isBetween(1L, total));
        assertThat(texts(parsed(Files.readString(page)), "pre")).startsWith("a 'b'");
    }
}
