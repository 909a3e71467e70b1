package dev.trivet.cli.bench;

import dev.trivet.kernel.Kernels;
import dev.trivet.model.VitModel;
import dev.trivet.onnx.OnnxRuntime;
import dev.trivet.runtime.ModelExecutor;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.IntStream;

/**
 * Everything that competes for one number of threads and one batch size: each model on Trivet and, where there is a peer, on that. Engines
 * use threads in two ways, one call that is split over all of them or one call on each; both are measured where the engine knows both,
 * and the better one counts.
 */
public final class Lineup implements AutoCloseable {
    /** Trivet's name among engines. */
    public static final String TRIVET = "trivet";

    /**
     * What is measured.
     *
     * @param model name of the model
     * @param callers calls at the same time
     * @param threadsPerCall threads that a call may use
     */
    public record Entry(String model, String engine, int callers, int threadsPerCall) {}

    /**
     * A model to measure.
     *
     * @param onnx its export, where it is to be compared
     */
    public record Subject(String name, VitModel model, Optional<Path> onnx) {}

    /** Names of the entries for {@link PeakCaller}, in place of a model's. */
    public static final String FLOAT_PEAK = "peak, float32";

    public static final String INTEGER_PEAK = "peak, int8";

    private final Map<Entry, Contender> contenders = new LinkedHashMap<>();
    private final Contender pulse;
    private final Map<String, Agreement> agreements = new LinkedHashMap<>();
    private final List<ModelExecutor> executors = new ArrayList<>();

    /**
     * Opens all sessions, which it owns, and compares the outputs of the engines.
     *
     * @throws IllegalArgumentException if two subjects bear the same name
     */
    public Lineup(List<Subject> subjects, Kernels kernels, Optional<OnnxRuntime> peer, int threads, int batch) {
        boolean integer = subjects.stream().anyMatch(s -> s.model().isQuantized());
        pulse = peak(kernels, integer, threads); // first, so that there is one to close
        try {
            for (Subject subject : subjects) {
                float[] pixels = TestImages.of(subject.model().geometry(), batch, 1);
                float[] ours = addTrivet(subject, kernels, pixels, threads, batch);
                if (peer.isPresent() && subject.onnx().isPresent()) {
                    float[] theirs = addPeer(subject, peer.get(), subject.onnx().get(), pixels, threads, batch);
                    agreements.put(subject.name(), Agreement.of(ours, theirs, batch));
                }
            }
            addPeak(FLOAT_PEAK, kernels, false, threads);
            if (integer) {
                addPeak(INTEGER_PEAK, kernels, true, threads);
            }
        } catch (RuntimeException e) {
            close();
            throw e;
        }
    }

    private float[] addTrivet(Subject subject, Kernels kernels, float[] pixels, int threads, int batch) {
        ModelExecutor executor = ModelExecutor.compile(subject.model(), kernels, batch);
        executors.add(executor);
        List<TrivetCaller> callers = IntStream.range(0, threads)
                .mapToObj(_ -> new TrivetCaller(executor, pixels, batch))
                .toList();
        add(new Entry(subject.name(), TRIVET, threads, 1), new Contender(callers, batch));
        if (threads > 1) {
            TrivetCaller split = new TrivetCaller(executor, threads, pixels, batch);
            add(new Entry(subject.name(), TRIVET, 1, threads), new Contender(List.of(split), batch));
        }
        if (threads > 1 && batch == 1) {
            TrivetCaller alone = new TrivetCaller(executor, pixels, batch);
            add(new Entry(subject.name(), TRIVET, 1, 1), new Contender(List.of(alone), batch));
        }
        callers.getFirst().run();
        return callers.getFirst().logits();
    }

    private float[] addPeer(Subject subject, OnnxRuntime peer, Path file, float[] pixels, int threads, int batch) {
        OnnxCaller split = new OnnxCaller(peer.open(file, batch, threads), pixels);
        add(new Entry(subject.name(), peer.description(), 1, threads), new Contender(List.of(split), batch));
        if (threads > 1 && batch == 1) {
            OnnxCaller alone = new OnnxCaller(peer.open(file, batch, 1), pixels);
            add(new Entry(subject.name(), peer.description(), 1, 1), new Contender(List.of(alone), batch));
        }
        if (threads > 1) {
            List<OnnxCaller> callers = peer.open(file, batch, 1, threads).stream()
                    .map(session -> new OnnxCaller(session, pixels))
                    .toList();
            add(new Entry(subject.name(), peer.description(), threads, 1), new Contender(callers, batch));
        }
        split.run();
        return split.logits();
    }

    private void addPeak(String name, Kernels kernels, boolean integer, int threads) {
        add(new Entry(name, TRIVET, threads, 1), peak(kernels, integer, threads));
    }

    private static Contender peak(Kernels kernels, boolean integer, int threads) {
        List<PeakCaller> callers = IntStream.range(0, threads)
                .mapToObj(_ -> new PeakCaller(kernels, integer))
                .toList();
        return new Contender(callers, 1);
    }

    private void add(Entry entry, Contender contender) {
        if (contenders.putIfAbsent(entry, contender) != null) {
            contender.close();
            throw new IllegalArgumentException("two of " + entry);
        }
    }

    public Map<Entry, Contender> contenders() {
        return contenders;
    }

    /** What tells quiet turns from others: products of the kind that suffers most from neighbours, int8 where a model has them. */
    public Contender pulse() {
        return pulse;
    }

    /** By model; empty without a peer. */
    public Map<String, Agreement> agreements() {
        return agreements;
    }

    @Override
    public void close() {
        contenders.values().forEach(Contender::close);
        pulse.close();
        executors.forEach(ModelExecutor::close);
    }
}
