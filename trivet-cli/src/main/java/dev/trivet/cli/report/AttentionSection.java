package dev.trivet.cli.report;

import dev.trivet.model.ModelUnit;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitModel;
import java.util.Map;

/** Where the class token looks in each block, before and after. */
final class AttentionSection {
    private final Markup page;
    private final VitModel model;
    private final Findings findings;

    AttentionSection(Markup page, VitModel model, Findings findings) {
        this.page = page;
        this.model = model;
        this.findings = findings;
    }

    void write() {
        boolean classToken = model.geometry() instanceof VitConfig vit && vit.classToken();
        page.open("section", "id", "attention").leaf("h2", "Attention maps");
        page.leaf(
                "p",
                (classToken
                                ? "How much the class token attends to each patch, mean over heads, "
                                : "How much each token is attended to, mean over heads and queries (of its window, where there are windows), ")
                        + "on the first calibration image. Left: float32, right: quantized; both maps of a block share one scale. r is the correlation of the two maps.");
        page.open("div", "class", "maps").open("figure");
        page.empty(
                "img",
                "src",
                Picture.ofInput(findings.picture(), model.config().preprocessing()),
                "alt",
                "The image as the model sees it",
                "class",
                "picture");
        page.leaf("figcaption", "input").close();
        Map<String, float[]> before = findings.operands().attentionBefore();
        Map<String, float[]> after = findings.operands().attentionAfter();
        for (ModelUnit unit : model.geometry().units()) {
            if (!(unit instanceof ModelUnit.Block block)) {
                continue;
            }
            float[] a = before.getOrDefault(block.mixing(), new float[1]);
            float[] q = after.getOrDefault(block.mixing(), new float[1]);
            int side = (int) Math.sqrt(a.length);
            String b = BitsSection.shortName(block);
            double most = 0;
            for (int i = 0; i < a.length; i++) {
                most = Math.max(most, Math.max(a[i], q[i]));
            }
            String r = Figures.fixed(correlation(a, q), 3);
            page.open("figure").open("div", "class", "pair");
            page.empty("img", "src", Picture.ofHeat(a, side, most), "alt", "Block " + b + ", float32");
            page.empty(
                    "img", "src", Picture.ofHeat(q, side, most), "alt", "Block " + b + ", quantized, correlation " + r);
            page.close().leaf("figcaption", "block " + b + ", r = " + r).close();
        }
        page.close().close();
    }

    /** Pearson's r; 1 where both are constant. */
    static double correlation(float[] a, float[] b) {
        double meanA = 0;
        double meanB = 0;
        for (int i = 0; i < a.length; i++) {
            meanA += a[i] / (double) a.length;
            meanB += b[i] / (double) a.length;
        }
        double ab = 0;
        double aa = 0;
        double bb = 0;
        for (int i = 0; i < a.length; i++) {
            ab += (a[i] - meanA) * (b[i] - meanB);
            aa += (a[i] - meanA) * (a[i] - meanA);
            bb += (b[i] - meanB) * (b[i] - meanB);
        }
        return aa == 0 && bb == 0 ? 1 : ab / Math.sqrt(aa * bb);
    }
}
