package dev.trivet.ptq;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/**
 * The tokens of every calibration image at one point of a model, float32 {@code [images, tokens, width]}: where a block-wise
 * calibration has got to. Up to {@link #IN_MEMORY} bytes they are held in memory, more go to a mapped scratch file, so memory
 * does not depend on the number of images. The file has no name once it is open: nothing is left of it if the process is
 * killed. Different images may be used by different threads.
 */
final class TokenStore implements AutoCloseable {
    /** Most bytes of one store that are held in memory. */
    static final long IN_MEMORY = 256L << 20;

    private final Arena arena = Arena.ofShared();
    private final MemorySegment all;
    private final long imageBytes;

    /** @throws BadInputException if the scratch file cannot be made */
    TokenStore(int images, long imageBytes) {
        this(images, imageBytes, IN_MEMORY, Path.of(System.getProperty("java.io.tmpdir")));
    }

    /**
     * @param inMemory most bytes that are held in memory
     * @param folder of the scratch file
     */
    TokenStore(int images, long imageBytes, long inMemory, Path folder) {
        this.imageBytes = imageBytes;
        long bytes = Math.multiplyExact(imageBytes, (long) images);
        try {
            all = bytes <= inMemory ? arena.allocate(bytes, 64) : map(bytes, folder);
        } catch (RuntimeException | Error e) {
            arena.close();
            throw e;
        }
    }

    private MemorySegment map(long bytes, Path folder) {
        try {
            long free = Files.getFileStore(folder).getUsableSpace();
            if (free < bytes) {
                throw new BadInputException(
                        folder + ": the temporary folder has " + (free >> 20) + " MB free, and calibration tokens need "
                                + ((bytes >> 20) + 1) + " MB; free some or lower --images");
            }
            Path file = Files.createTempFile(folder, "trivet-calibration", ".tokens");
            try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
                Files.delete(file);
                reserve(channel, bytes);
                return channel.map(FileChannel.MapMode.READ_WRITE, 0, bytes, arena);
            }
        } catch (IOException e) {
            throw new BadInputException(
                    folder + ": the scratch file for " + (bytes >> 20)
                            + " MB of calibration tokens cannot be made there (" + BadInputException.reason(e)
                            + "); free the temporary folder or lower --images",
                    e);
        }
    }

    /**
     * Writes zeros: a mapped file with holes takes its room only when it is touched, and where the disk is full by then (other
     * stores of this search have holes to fill as well) the process dies instead of failing.
     */
    private static void reserve(FileChannel channel, long bytes) throws IOException {
        ByteBuffer zeros = ByteBuffer.allocateDirect(1 << 20);
        for (long at = 0; at < bytes; ) {
            zeros.clear().limit((int) Math.min(zeros.capacity(), bytes - at));
            at += channel.write(zeros, at);
        }
    }

    /** Float32 {@code [tokens, width]} of one image. */
    MemorySegment image(int index) {
        return all.asSlice(index * imageBytes, imageBytes);
    }

    @Override
    public void close() {
        arena.close();
    }
}
