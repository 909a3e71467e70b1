package dev.trivet.cli.bench;

import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/**
 * Something that classifies images over and over, by one caller or by several at the same time. Calls of one caller follow each other
 * without a pause.
 */
public final class Contender implements AutoCloseable {
    /** One caller's model with its buffers. */
    public interface Caller extends AutoCloseable {
        /** Classifies one batch. */
        void run();

        @Override
        void close();
    }

    private final List<Caller> callers;
    private final int batch;
    private final ExecutorService threads;

    /** @param batch images of one run of one caller */
    public Contender(List<? extends Caller> callers, int batch) {
        this.callers = List.copyOf(callers);
        this.batch = batch;
        threads = Executors.newFixedThreadPool(
                callers.size(), Thread.ofPlatform().daemon().factory());
    }

    /** Images of one run of all callers. */
    public int images() {
        return callers.size() * batch;
    }

    /**
     * Seconds until every caller has made {@code runs} runs.
     *
     * @throws IllegalStateException if one of them failed
     */
    public double seconds(int runs) {
        long start = System.nanoTime();
        List<? extends Future<?>> running = callers.stream()
                .map(caller -> threads.submit(() -> {
                    for (int i = 0; i < runs; i++) {
                        caller.run();
                    }
                }))
                .toList();
        try {
            for (Future<?> future : running) {
                future.get();
            }
        } catch (ExecutionException e) {
            if (e.getCause() instanceof Error error) {
                throw error;
            }
            throw new IllegalStateException(e.getCause());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted while measuring", e);
        }
        return (System.nanoTime() - start) / 1e9;
    }

    @Override
    public void close() {
        threads.close();
        callers.forEach(Caller::close);
    }
}
