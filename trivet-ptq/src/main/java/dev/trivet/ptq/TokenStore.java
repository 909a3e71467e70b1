package dev.trivet.ptq;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
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
        this.imageBytes = imageBytes;
        long bytes = Math.multiplyExact(imageBytes, (long) images);
        all = bytes <= IN_MEMORY ? arena.allocate(bytes, 64) : map(bytes);
    }

    private MemorySegment map(long bytes) {
        try {
            Path file = Files.createTempFile("trivet-calibration", ".tokens");
            try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
                Files.delete(file);
                return channel.map(FileChannel.MapMode.READ_WRITE, 0, bytes, arena);
            }
        } catch (IOException e) {
            arena.close();
            throw new BadInputException(
                    "the scratch file for " + (bytes >> 20) + " MB of calibration tokens cannot be made ("
                            + BadInputException.reason(e) + "); free the temporary folder or lower --images",
                    e);
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
